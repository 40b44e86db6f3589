import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Test } from "tap";
import type { FloatingDType } from "../../lib/torch/device.js";
import { Generator } from "../../lib/torch/generator.js";
import type { GenerateOptions } from "../../lib/pipelines/shared/options.js";
import type { LDMPipeline } from "../../lib/pipelines/ldm.js";
import type { LDMComponents } from "../../lib/pipelines/shared/components.js";
import { Tensor } from "../../lib/torch/tensor.js";
import { assertTensorEqual, pick, readTensors, type ReferenceTensor } from "./tensors.js";

/** One run of reference/pipelines.py. */
export interface PipelineRun {
  readonly batch: number;
  readonly eta: number;
  /** A seed for the batch, or one an image. */
  readonly seeds: number | readonly number[];
  readonly steps: number;
  readonly dtype: FloatingDType;
  /** Height and width in pixels, where they are not the checkpoint's. */
  readonly size?: readonly [number, number];
  readonly oracle: string;
}

/** What reference/pipelines.py says of one checkpoint. */
export interface PipelineCase {
  readonly runs: readonly PipelineRun[];
  /** The dtypes that it was exported to TorchScript in. */
  readonly exports: readonly FloatingDType[];
}

/** Read a checkpoint's runs and what they gave. */
export function readPipelineCase(
  folder: string,
): PipelineCase & { readonly tensors: ReadonlyMap<string, ReferenceTensor> } {
  const { runs, exports } = JSON.parse(readFileSync(join(folder, "case.json"), "utf8")) as PipelineCase;
  return { runs, exports, tensors: readTensors(join(folder, "tensors.safetensors")) };
}

/** The options of a run; its generators are new. */
export function optionsOf({ batch, eta, seeds, steps, size }: PipelineRun): GenerateOptions {
  const generator =
    typeof seeds === "number" ? Generator.fromSeed(seeds) : seeds.map((seed) => Generator.fromSeed(seed));
  const [height, width] = size ?? [];
  return { batchSize: batch, eta, generator, numInferenceSteps: steps, ...(size ? { height, width } : {}) };
}

/** Generate what Python generated, as an array and as pictures, and compare. */
export async function replayRun(
  t: Test,
  pipe: LDMPipeline<LDMComponents>,
  run: PipelineRun,
  expected: { array: ReferenceTensor; image: ReferenceTensor },
  tolerance: number,
): Promise<void> {
  const name = `${JSON.stringify({ batch: run.batch, eta: run.eta, seeds: run.seeds, steps: run.steps, dtype: run.dtype, size: run.size })}, ${run.oracle}`;
  const { images: array } = await pipe.generate({ ...optionsOf(run), outputType: "array" });
  await assertTensorEqual(t, Tensor.from(array.data, array.shape), expected.array, {
    tolerance,
    name: `${name}, array`,
  });
  const { images } = await pipe.generate(optionsOf(run));
  const [, height, width, channels] = expected.image.shape;
  t.strictSame(
    images.map((image) => [image.height, image.width, image.channels]),
    images.map(() => [height, width, channels]),
  );
  const bytes = Buffer.concat(images.map((image) => image.data));
  if (tolerance === 0) t.ok(bytes.equals(expected.image.data), `${name}, pictures: every byte`);
  else t.ok(largestDifference(bytes, expected.image.data) <= 1, `${name}, pictures: within one level`);
}

/** Pick a run's expected results; `"aligned."`: those of weights at the beginning of allocations. */
export function expectedOf(
  tensors: ReadonlyMap<string, ReferenceTensor>,
  index: number,
  place: "" | "aligned." = "",
): { array: ReferenceTensor; image: ReferenceTensor } {
  return { array: pick(tensors, `${place}${index}.array`), image: pick(tensors, `${place}${index}.image`) };
}

function largestDifference(a: Uint8Array, b: Uint8Array): number {
  if (a.length !== b.length) return Infinity;
  return a.reduce((largest, value, i) => Math.max(largest, Math.abs(value - (b[i] ?? Infinity))), 0);
}
