import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Test } from "tap";
import type { FloatingDType } from "../../lib/torch/device.js";
import type { Device } from "../../lib/native/contract.js";
import { UNet2DModel } from "../../lib/models/unet-2d/model.js";
import { VQModel } from "../../lib/models/vq/model.js";
import type { Tensor } from "../../lib/torch/tensor.js";
import { assertTensorEqual, pick, readTensors, type ReferenceTensor, toTensor } from "./tensors.js";

/** One forward of the reference: names of tensors, or numbers. */
export interface UNetRun {
  readonly method: "forward";
  readonly dtype: FloatingDType;
  readonly sample: string;
  readonly timestep: string | number;
  readonly classLabels: string | null;
  readonly expected: string;
}

export interface VQRun {
  readonly method: "encode" | "decode" | "forward";
  readonly dtype: FloatingDType;
  readonly input: string;
  readonly options: { readonly forceNotQuantize?: boolean };
  readonly expected: string;
}

/** What reference/networks.py wrote for one configuration. */
export type NetworkCase =
  | { readonly class: "UNet2DModel"; readonly runs: readonly UNetRun[]; readonly aligned?: readonly UNetRun[] }
  | { readonly class: "VQModel"; readonly runs: readonly VQRun[]; readonly aligned?: readonly VQRun[] };

/** Read `case.json` and the tensors of a case's folder. */
export function readCase(folder: string): { case: NetworkCase; tensors: Map<string, ReferenceTensor> } {
  const parsed = JSON.parse(readFileSync(join(folder, "case.json"), "utf8")) as NetworkCase;
  return { case: parsed, tensors: readTensors(join(folder, "tensors.safetensors")) };
}

/** The names of the cases of one class under a folder. */
export function caseNames(root: string, prefix: string): string[] {
  return readdirSync(root)
    .filter((name) => name.startsWith(prefix))
    .sort();
}

/** Load a case's model in one dtype. */
export function loadModel(
  folder: string,
  className: NetworkCase["class"],
  options: { dtype: FloatingDType; optimize: boolean; device?: Device },
): Promise<UNet2DModel | VQModel> {
  return className === "UNet2DModel"
    ? UNet2DModel.fromPretrained(join(folder, "model"), options)
    : VQModel.fromPretrained(join(folder, "model"), options);
}

/** Compare every run of a case. @param options `tolerance` 0: bit for bit */
export async function compareCase(
  t: Test,
  folder: string,
  { tolerance, ...options }: { tolerance: number; optimize: boolean; device?: Device },
): Promise<void> {
  const { case: reference, tensors } = readCase(folder);
  for (const dtype of new Set(reference.runs.map((run) => run.dtype))) {
    const model = await loadModel(folder, reference.class, { dtype, ...options });
    for (const run of reference.runs) {
      if (run.dtype !== dtype) continue;
      const output = await runModel(model, run, tensors);
      await assertTensorEqual(t, output, pick(tensors, run.expected), { tolerance, name: describeRun(run, tensors) });
      output.dispose();
    }
    model.dispose();
  }
}

async function runModel(
  model: UNet2DModel | VQModel,
  run: UNetRun | VQRun,
  tensors: ReadonlyMap<string, ReferenceTensor>,
): Promise<Tensor> {
  const tensor = (name: string): Promise<Tensor> => toTensor(pick(tensors, name)).to(model.device);
  if (model instanceof UNet2DModel) {
    const { sample, timestep, classLabels } = run as UNetRun;
    const options = classLabels === null ? {} : { classLabels: await tensor(classLabels) };
    return (
      await model.forward(
        await tensor(sample),
        typeof timestep === "number" ? timestep : await tensor(timestep),
        options,
      )
    ).sample;
  }
  const { method, input, options } = run as VQRun;
  const given = await tensor(input);
  if (method === "encode") return (await model.encode(given)).latents;
  return (method === "decode" ? await model.decode(given, options) : await model.forward(given)).sample;
}

function describeRun(run: UNetRun | VQRun, tensors: ReadonlyMap<string, ReferenceTensor>): string {
  const shape = (name: string): string => `[${pick(tensors, name).shape.join(", ")}]`;
  if ("input" in run)
    return `${run.dtype} ${run.method} ${shape(run.input)}${run.options.forceNotQuantize ? " not quantised" : ""}`;
  const time =
    typeof run.timestep === "number"
      ? String(run.timestep)
      : `${pick(tensors, run.timestep).dtype} ${shape(run.timestep)}`;
  return `${run.dtype} ${shape(run.sample)} at ${time}`;
}
