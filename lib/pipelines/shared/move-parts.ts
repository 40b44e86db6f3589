import type { ExecutionOptions } from "../../torch/script-module.js";
import type { LDMComponents } from "./pipeline-parts.js";

/**
 * Move both networks or neither: each is made ready at its new place before the first is switched over. Both take their places in
 * the queues of moves at once, so that pipelines that share parts cannot wait for each other in a circle.
 * @param checkAlive called before the switch; what it throws leaves everything as it was
 */
export async function moveParts(
  { unet, vqvae }: LDMComponents,
  options: ExecutionOptions,
  checkAlive: () => void,
): Promise<void> {
  checkAlive();
  const results = await Promise.allSettled([unet, vqvae].map((part) => part.stage(options)));
  const staged = results.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
  try {
    for (const result of results) if (result.status === "rejected") throw result.reason;
    checkAlive();
  } catch (error) {
    for (const execution of staged) execution.discard();
    throw error;
  }
  for (const execution of staged) execution.commit();
}
