import { readFileSync } from "node:fs";
import { totalmem } from "node:os";
import { dirname, join } from "node:path";
import { LatentDiffusionError } from "../../errors.js";
import type { DType } from "../../native/contract.js";
import { decoderScale, type LDMComponents } from "./components.js";
import type { OutputType } from "./decode.js";

const GIB = 2 ** 30;

/** Sizes of the widest features that a decoder holds at once, in layers: input, output, and one between. */
const DECODER_LAYERS = 3;

/**
 * Refuse a run that cannot fit into the memory that is left: the system might end the process instead of refusing an allocation.
 * The estimate is low, so that no run is refused that could fit; networks on a GPU are not counted.
 * @param latentShape `[batch, channels, height, width]`
 * @throws LatentDiffusionError `ERR_OUT_OF_MEMORY` with the estimate and what is left
 */
export function checkMemory(
  components: LDMComponents,
  latentShape: readonly [number, number, number, number],
  outputType: OutputType,
): void {
  const needed = estimateRun(components, latentShape, outputType);
  const left = availableMemory();
  if (needed <= left) return;
  const [batch, , height, width] = latentShape;
  throw new LatentDiffusionError(
    "ERR_OUT_OF_MEMORY",
    `Expected a run that fits into the ${inGiB(left)} of memory that are left but received one that needs at least ${inGiB(needed)}: ` +
      `${batch} image${batch === 1 ? "" : "s"} of ${height} x ${width} latents; take a smaller batchSize, height or width`,
  );
}

/** The bytes of main memory that a run needs at least, its networks' weights apart. */
export function estimateRun(
  { unet, vqvae }: LDMComponents,
  [batch, channels, height, width]: readonly [number, number, number, number],
  outputType: OutputType,
): number {
  const latents = batch * channels * height * width;
  const noise = latents * 4;
  const denoising = unet.device === "cpu" ? batch * skipFeatures(unet.config, height * width) + 3 * latents : 0;
  const pixels = height * width * (decoderScale(vqvae) ?? 1) ** 2;
  const features = vqvae.device === "cpu" ? DECODER_LAYERS * (vqvae.config.block_out_channels?.[0] ?? 1) * pixels : 0;
  const decodedAtOnce = vqvae.optimize ? 1 : batch;
  const pictures =
    batch * pixels * vqvae.config.out_channels * { image: 1, array: 4, tensor: BYTES[vqvae.dtype] ?? 4 }[outputType];
  return Math.max(
    noise,
    denoising * (BYTES[unet.dtype] ?? 4),
    latents * (BYTES[vqvae.dtype] ?? 4) + decodedAtOnce * features * (BYTES[vqvae.dtype] ?? 4) + pictures,
  );
}

const BYTES: Readonly<Partial<Record<DType, number>>> = { float64: 8, float32: 4, float16: 2, bfloat16: 2 };

/** What a UNet keeps on the way down for the way up: one tensor of features for each layer, each level a quarter of the one above. */
function skipFeatures(
  config: { readonly block_out_channels?: readonly number[]; readonly layers_per_block?: number },
  size: number,
): number {
  const { block_out_channels: channels = [], layers_per_block: layers = 1 } = config;
  return channels.reduce((sum, count, level) => sum + (layers * count * size) / 4 ** level, 0);
}

/** The bytes that this process may still take: of the machine, and of each control group that it is in. */
export function availableMemory(): number {
  const machine = /^MemAvailable:\s+(\d+) kB/m.exec(read("/proc/meminfo"))?.[1];
  return Math.min(machine === undefined ? totalmem() : Number(machine) * 1024, ...groupsLeft());
}

/** What is left in this process's control groups of version 2, from its own up to the root. */
function groupsLeft(root = "/sys/fs/cgroup"): number[] {
  const own = /^0::(\/.*)$/m.exec(read("/proc/self/cgroup"))?.[1];
  if (own === undefined) return [];
  const left: number[] = [];
  for (let group = own; ; group = dirname(group)) {
    const limit = Number(read(join(root, group, "memory.max")).trim() || "max");
    if (Number.isFinite(limit)) {
      const statistics = read(join(root, group, "memory.stat"));
      // The kernel drops cached files before it refuses memory.
      const cached =
        Number(/^inactive_file (\d+)/m.exec(statistics)?.[1] ?? 0) +
        Number(/^active_file (\d+)/m.exec(statistics)?.[1] ?? 0);
      left.push(Math.max(0, limit - Number(read(join(root, group, "memory.current"))) + cached));
    }
    if (group === "/") return left;
  }
}

/** A small file of the kernel's; empty where it is not there, as on another system. */
function read(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return "";
  }
}

function inGiB(bytes: number): string {
  return `${(bytes / GIB).toPrecision(3)} GiB`;
}
