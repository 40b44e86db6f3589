import { LatentDiffusionError } from "../errors.js";
import type { Device, DType } from "../native/contract.js";
import { native, openedLibTorch } from "../native/open.js";
import { cudaDriver } from "../native/user-cache.js";
import { checkBoolean, unexpected } from "../validate.js";

/** The dtypes that a network can run in. */
export type FloatingDType = "float32" | "float64" | "float16" | "bfloat16";

export const FLOATING_DTYPES: readonly FloatingDType[] = ["float32", "float64", "float16", "bfloat16"];

/**
 * Check a device's name and that this process can use it.
 * @returns its full name: `"cpu"` or `"cuda:<index>"`
 * @throws InvalidArgumentError for a name of another form
 * @throws LatentDiffusionError `ERR_DEVICE_UNAVAILABLE` saying what is missing
 */
export function checkDevice(value: unknown, option: string): Device {
  if (value === "cpu") return value;
  const match = typeof value === "string" ? /^cuda(?::(0|[1-9]\d{0,2}))?$/.exec(value) : null;
  if (!match) throw unexpected('"cpu", "cuda" or "cuda:<index>"', option, value);
  const index = Number(match[1] ?? 0);
  const { cudaDevices } = native().runtimeInfo();
  if (!openedLibTorch()?.cuda) {
    throw new LatentDiffusionError(
      "ERR_DEVICE_UNAVAILABLE",
      `${option}: ${String(value)} needs a CUDA build of LibTorch, and the one in use is a CPU build; \`npx latent-diffusion install cuda\` installs one`,
    );
  }
  if (index >= cudaDevices) {
    const found = cudaDevices === 0 ? describeNoDevice(cudaDriver()) : `there are ${cudaDevices} CUDA devices`;
    throw new LatentDiffusionError("ERR_DEVICE_UNAVAILABLE", `${option}: ${String(value)} is not available: ${found}`);
  }
  return `cuda:${index}`;
}

function describeNoDevice(driver: string | undefined): string {
  if (driver === undefined) return "no CUDA device was found, and no driver of NVIDIA either";
  return `no CUDA device was found, though NVIDIA's driver is here (${driver}); it may be too old, or the device hidden`;
}

/** Check a dtype that a network can run in. */
export function checkFloatingDType(value: unknown, option: string): FloatingDType {
  const found = FLOATING_DTYPES.find((dtype) => dtype === value);
  if (!found) throw unexpected(`one of ${FLOATING_DTYPES.map((dtype) => `"${dtype}"`).join(", ")}`, option, value);
  return found;
}

/** Check the options that say how a network runs; what is left out is not checked. */
export function checkExecution({
  device,
  dtype,
  optimize,
}: {
  device?: unknown;
  dtype?: unknown;
  optimize?: unknown;
}): void {
  if (device !== undefined) checkDevice(device, "device");
  if (dtype !== undefined) checkFloatingDType(dtype, "dtype");
  if (optimize !== undefined) checkBoolean(optimize, "optimize");
}

/** Tell whether a dtype holds floating-point numbers. */
export function isFloating(dtype: DType): dtype is FloatingDType {
  return (FLOATING_DTYPES as readonly DType[]).includes(dtype);
}
