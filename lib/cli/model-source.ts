import { existsSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { type Device, type DownloadProgress, type FloatingDType, type LDMComponents, LDMPipeline } from "../index.js";
import { PACKAGE_ROOT } from "../native/packages.js";
import { CommandError } from "./failure.js";

/** The name that stands for the demo checkpoint. */
export const DEMO = "demo";

/** How a model is loaded. */
export interface LoadingOptions {
  readonly device: Device;
  readonly dtype: FloatingDType;
  /** Whether code of TorchScript files may run. */
  readonly trusted: boolean;
  readonly signal?: AbortSignal;
  /** Told of a download from the hub. */
  readonly onProgress?: (progress: DownloadProgress) => void;
}

/**
 * Load what `--model` names.
 * @param model a folder in diffusers' layout, a name on the hub, a folder with `unet.pt` and `vq_decoder.pt` (or one of the two files), or `demo`
 * @throws CommandError `ERR_CHECKPOINT_NOT_FOUND` if the demo checkpoint is not installed; what LDMPipeline throws
 */
export async function loadModel(
  model: string,
  { device, dtype, trusted, signal, onProgress }: LoadingOptions,
): Promise<LDMPipeline<LDMComponents>> {
  const execution = { device, dtype };
  const path = model === DEMO && !existsSync(DEMO) ? demoFolder() : model;
  if (path === undefined) throw noDemo();
  const folder = torchScriptFolder(path);
  if (folder === undefined) return LDMPipeline.fromPretrained(path, { ...execution, signal, onProgress });
  return LDMPipeline.fromTorchScript({
    ...execution,
    unet: join(folder, "unet.pt"),
    vqDecoder: join(folder, "vq_decoder.pt"),
    scheduler: folder,
    config: join(folder, "config.json"),
    // Without the flag it is false, and refused with the error that says why.
    trusted: trusted as true,
  });
}

/** Where the demo checkpoint is: the package of that name, or models/demo of a checkout. */
export function demoFolder(): string | undefined {
  try {
    return dirname(require.resolve("@latent-diffusion/demo/model_index.json", { paths: [process.cwd(), __dirname] }));
  } catch {
    const inCheckout = join(PACKAGE_ROOT, "models", "demo");
    return existsSync(join(inCheckout, "model_index.json")) ? inCheckout : undefined;
  }
}

function noDemo(): CommandError {
  return new CommandError(
    "ERR_CHECKPOINT_NOT_FOUND",
    "No model was named, and the demo checkpoint is not installed",
    "Run `npm install @latent-diffusion/demo`, or name a model: `--model <folder>`.",
  );
}

/** The folder of a pair of TorchScript files, as models/export_torchscript.py writes them; undefined for everything else. */
function torchScriptFolder(path: string): string | undefined {
  const isFile = ["unet.pt", "vq_decoder.pt"].includes(basename(path)) && isKind(path, "isFile");
  const folder = isFile ? dirname(path) : path;
  const isCheckpoint = existsSync(join(folder, "model_index.json"));
  return !isCheckpoint && existsSync(join(folder, "unet.pt")) ? folder : undefined;
}

function isKind(path: string, kind: "isFile" | "isDirectory"): boolean {
  return statSync(path, { throwIfNoEntry: false })?.[kind]() ?? false;
}
