import { type FloatingDType, isFloating } from "../torch/device.js";
import { InvalidArgumentError, LatentDiffusionError } from "../errors.js";
import { settle } from "../native/calls.js";
import type { CheckpointHandle, NativeWeight } from "../native/contract.js";
import { native } from "../native/open.js";
import { lowerWeight, type StoredTensor, type Weight } from "../torch/script-values.js";
import { replaceFile } from "../files/atomic-file.js";
import { inSteps } from "../files/json.js";
import { byteLength, PREFIX_BYTES, readHeader, STORED_DTYPES } from "../files/safetensors-header.js";

/**
 * An open safetensors file: its header checked, its tensors not read yet. Nothing in such a file can run code.
 * The file stays open, and is read from, until {@link SafetensorsFile.dispose}.
 * @see safetensors.safe_open
 */
export class SafetensorsFile {
  readonly path: string;
  /** By name, in the order of their bytes in the file. */
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** The header's `__metadata__`. */
  readonly metadata: Readonly<Record<string, string>>;
  #handle: CheckpointHandle | undefined;

  private constructor(
    path: string,
    handle: CheckpointHandle,
    tensors: ReadonlyMap<string, StoredTensor>,
    metadata: Readonly<Record<string, string>>,
  ) {
    this.path = path;
    this.tensors = tensors;
    this.metadata = metadata;
    this.#handle = handle;
  }

  /**
   * Open a file and check its header against its size; the tensors' bytes are read when they are used.
   * @throws LatentDiffusionError `ERR_CHECKPOINT_NOT_FOUND`; `ERR_CHECKPOINT_INVALID` naming the file, the tensor and what is wrong
   */
  static async open(path: string): Promise<SafetensorsFile> {
    const { handle, size } = await settle(() => native().checkpointOpen(path), SafetensorsFile.open);
    try {
      const read = (offset: number, length: number): Promise<Uint8Array> =>
        settle(() => native().checkpointRead(handle, offset, length), SafetensorsFile.open);
      const { tensors, metadata } = await readHeader({ size, read }, path);
      const stored = new Map<string, StoredTensor>();
      await inSteps(tensors, ([name, entry]) => stored.set(name, Object.freeze({ file: handle, ...entry })));
      return new SafetensorsFile(path, handle, stored, Object.freeze(metadata));
    } catch (error) {
      native().dispose(handle);
      throw error;
    }
  }

  /** Close the file, after what is queued; a second call does nothing. */
  dispose(): void {
    if (this.#handle) native().dispose(this.#handle);
    this.#handle = undefined;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** How a safetensors file is written. */
export interface WriteOptions {
  /** Convert the floating tensors to it; default: as they are. */
  dtype?: FloatingDType;
  /** Default `{ format: "pt" }`, by which Python's libraries know that the tensors are PyTorch's. */
  metadata?: Readonly<Record<string, string>>;
}

/**
 * Write a safetensors file, byte for byte what `safetensors.torch.save_file` writes for the same tensors.
 * The file is written beside its place and moved there when it is complete and on the disk.
 * @param path in a folder that exists
 * @throws LatentDiffusionError `ERR_IO`
 * @see safetensors.torch.save_file
 */
export async function writeSafetensors(
  path: string,
  tensors: ReadonlyMap<string, Weight>,
  options: WriteOptions = {},
): Promise<void> {
  await replaceFile(path, (temporary) => writeNow(temporary, tensors, options));
}

/** @internal Write a safetensors file in place, for a caller that moves it itself. */
export async function writeNow(
  path: string,
  tensors: ReadonlyMap<string, Weight>,
  options: WriteOptions = {},
): Promise<void> {
  const { header, weights } = layOut(tensors, options);
  await settle(() => native().checkpointWrite(path, header, weights, options.dtype ?? null), writeSafetensors);
}

/** The bytes that one weight takes in a file. */
export function storedBytes(weight: Weight, dtype: FloatingDType | undefined): number {
  return describeWeight(weight, dtype).bytes;
}

function describeWeight(
  weight: Weight,
  target: FloatingDType | undefined,
): { stored: string; rank: number; bytes: number } {
  const dtype = target !== undefined && isFloating(weight.dtype) ? target : weight.dtype;
  const rank = STORED_DTYPES.findIndex((known) => known.dtype === dtype);
  const known = STORED_DTYPES[rank];
  const bytes = known && byteLength(weight.shape, known.bytes);
  if (!known || bytes === undefined)
    throw new LatentDiffusionError("ERR_INTERNAL", `A tensor of ${dtype} cannot be stored`);
  return { stored: known.stored, rank, bytes };
}

/** Order the tensors as the format's own library does (wide dtypes first, so that all are aligned; then by name) and write the header. */
function layOut(
  tensors: ReadonlyMap<string, Weight>,
  options: WriteOptions,
): { header: Uint8Array; weights: NativeWeight[] } {
  const ordered = [...tensors]
    .map(([name, weight]) => ({
      name: checkName(name),
      key: Buffer.from(name),
      weight,
      ...describeWeight(weight, options.dtype),
    }))
    .sort((a, b) => a.rank - b.rank || Buffer.compare(a.key, b.key));
  let end = 0;
  const entries = ordered.map(({ name, weight, stored, bytes }) => {
    const begin = end;
    end += bytes;
    return `${JSON.stringify(name)}:${JSON.stringify({ dtype: stored, shape: weight.shape, data_offsets: [begin, end] })}`;
  });
  const metadata = `"__metadata__":${JSON.stringify(options.metadata ?? { format: "pt" })}`;
  const json = Buffer.from(`{${[metadata, ...entries].join(",")}}`);
  const length = Math.ceil(json.length / PREFIX_BYTES) * PREFIX_BYTES;
  const header = Buffer.alloc(PREFIX_BYTES + length, " ");
  header.writeBigUInt64LE(BigInt(length), 0);
  json.copy(header, PREFIX_BYTES);
  return { header, weights: ordered.map(({ weight }) => lowerWeight(weight)) };
}

function checkName(name: string): string {
  if (name === "__metadata__" || /\p{Surrogate}/u.test(name)) {
    throw new InvalidArgumentError(
      `Expected a tensor's name but received ${JSON.stringify(name)}, which the safetensors format cannot hold`,
    );
  }
  return name;
}
