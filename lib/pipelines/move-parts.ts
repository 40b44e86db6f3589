import type { ExecutionOptions, StagedExecution } from "../script-module.js";
import type { LDMComponents } from "./pipeline-parts.js";

/** The move that was asked for last: pipelines may share parts, so moves wait for each other. */
let lastMove: Promise<unknown> = Promise.resolve();

/**
 * Move both networks or neither: each is made ready at its new place before the first is switched over.
 * @param checkAlive called before the switch; what it throws leaves everything as it was
 */
export function moveParts(parts: LDMComponents, options: ExecutionOptions, checkAlive: () => void): Promise<void> {
  const move = lastMove.then(() => stageAll(parts, options, checkAlive));
  lastMove = move.catch(() => undefined);
  return move;
}

async function stageAll({ unet, vqvae }: LDMComponents, options: ExecutionOptions, checkAlive: () => void): Promise<void> {
  const staged: StagedExecution[] = [];
  try {
    checkAlive();
    for (const part of [unet, vqvae]) staged.push(await part.stage(options));
    checkAlive();
  } catch (error) {
    for (const execution of staged) execution.discard();
    throw error;
  }
  for (const execution of staged) execution.commit();
}
