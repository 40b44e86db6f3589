import { LatentDiffusionError } from "../errors.js";
import { inSteps } from "../files/json.js";
import { HEAD_BYTES, refuseMisplaced } from "../files/misplaced.js";
import { PickleTensor, type PickleValue } from "../files/pickle-values.js";
import type { ByteSource } from "../files/safetensors-header.js";
import { describeEntry, layOutTensor } from "../files/torch-pickle.js";
import { settle } from "../native/calls.js";
import type { CheckpointHandle } from "../native/contract.js";
import { native } from "../native/open.js";
import type { StoredTensor } from "../torch/script-values.js";
import { quote } from "../validate.js";
import { readLegacyFile } from "./torch-legacy.js";
import { readZipFile, type TorchContent } from "./torch-zip.js";

/**
 * An open file of Python's `torch.save`: what it holds is read by this package's own unpickler, which builds tensors, dictionaries, lists and
 * simple values, and imports or calls nothing. The tensors' values are not read yet; the file stays open until
 * {@link TorchFile.dispose}.
 * @see torch.load with `weights_only=True`
 */
export class TorchFile {
  readonly path: string;
  readonly #content: TorchContent;
  #handle: CheckpointHandle | undefined;

  private constructor(path: string, handle: CheckpointHandle, content: TorchContent) {
    this.path = path;
    this.#handle = handle;
    this.#content = content;
  }

  /**
   * Open a file, zip or of the older format, and read what it describes.
   * @throws LatentDiffusionError `ERR_CHECKPOINT_NOT_FOUND`, `ERR_IO`; `ERR_CHECKPOINT_INVALID` naming the file, the place and what is wrong
   */
  static async open(path: string): Promise<TorchFile> {
    const { handle, size } = await settle(() => native().checkpointOpen(path), TorchFile.open);
    try {
      const read = (offset: number, length: number): Promise<Uint8Array> =>
        settle(() => native().checkpointRead(handle, offset, length), TorchFile.open);
      return new TorchFile(path, handle, await readTorchContent({ size, read }, path));
    } catch (error) {
      native().dispose(handle);
      throw error;
    }
  }

  /** What was saved. */
  get value(): PickleValue {
    return this.#content.value;
  }

  /**
   * See where the tensors of a dictionary are in the file.
   * @param where the dictionary's place, for messages; "" for the file's own
   * @returns by name, in the order of the dictionary
   * @throws LatentDiffusionError `ERR_CHECKPOINT_INVALID` for anything but tensors under names
   */
  async tensorsOf(dictionary: PickleValue, where = ""): Promise<ReadonlyMap<string, StoredTensor>> {
    const place = where === "" ? this.path : `${this.path}: ${where}`;
    if (!(dictionary instanceof Map)) throw invalid(`${place}: it holds ${describeEntry(dictionary)}`);
    const tensors = new Map<string, StoredTensor>();
    await inSteps(dictionary, ([name, value]) => {
      if (typeof name !== "string") throw invalid(`${place}: it has a key that is ${describeEntry(name)}`);
      tensors.set(name, this.#store(value, `${place}: ${quote(name)}`));
    });
    return tensors;
  }

  #store(value: PickleValue, where: string): StoredTensor {
    const handle = this.#handle;
    if (!handle) throw new LatentDiffusionError("ERR_DISPOSED", `${this.path} was closed`);
    if (!(value instanceof PickleTensor)) throw invalid(`${where} is ${describeEntry(value)}`);
    const layout = layOutTensor(value);
    if (typeof layout === "string") throw invalid(`${where}: ${layout}`);
    const { dtype, begin, strides } = layout;
    const offset = this.#content.locate(value.storage) + begin;
    return Object.freeze({ file: handle, dtype, shape: value.shape, offset, ...(strides && { strides }) });
  }

  /** Close the file, after what is queued; a second call does nothing. */
  dispose(): void {
    if (this.#handle) native().dispose(this.#handle);
    this.#handle = undefined;
  }
}

/**
 * Open a file of `torch.save` that is one dictionary of tensors.
 * @throws LatentDiffusionError as {@link TorchFile.open} and {@link TorchFile.tensorsOf}
 */
export async function openTorchWeights(
  path: string,
): Promise<{ path: string; tensors: ReadonlyMap<string, StoredTensor>; dispose(): void }> {
  const file = await TorchFile.open(path);
  try {
    return { path, tensors: await file.tensorsOf(file.value), dispose: () => file.dispose() };
  } catch (error) {
    file.dispose();
    throw error;
  }
}

/**
 * Read what a file of `torch.save` describes, in either of its formats.
 * @throws LatentDiffusionError `ERR_CHECKPOINT_INVALID`
 */
export async function readTorchContent(source: ByteSource, path: string): Promise<TorchContent> {
  const head = Buffer.from(await source.read(0, Math.min(source.size, HEAD_BYTES)));
  refuseMisplaced(head, path);
  if (head.toString("latin1", 0, 2) === "PK") return readZipFile(source, path);
  if (head[0] === 0x80) return readLegacyFile(source, path);
  const isTar = head.toString("latin1", 257, 262) === "ustar";
  const what = isTar ? "a tar archive, as PyTorch wrote before version 0.1.10" : "neither a zip archive nor a pickle";
  throw invalid(`${path}: ${what}: not a file of torch.save that is read here`);
}

function invalid(message: string): LatentDiffusionError {
  return new LatentDiffusionError("ERR_CHECKPOINT_INVALID", message);
}
