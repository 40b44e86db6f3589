import { LatentDiffusionError } from "../errors.js";
import { readPickle } from "../files/pickle.js";
import type { PickleStorage, PickleValue } from "../files/pickle-values.js";
import type { ByteSource } from "../files/safetensors-header.js";
import { itemBytes, torchMeaning } from "../files/torch-pickle.js";
import { ZipArchive } from "../files/zip.js";
import { quote } from "../validate.js";

/** What describes the tensors takes some hundred bytes for each; a Lightning checkpoint's other parts some kilobytes more. */
export const MAX_PICKLE_BYTES = 32_000_000;

/** What a file of `torch.save` holds. */
export interface TorchContent {
  /** What was saved. */
  readonly value: PickleValue;
  /**
   * Find the first byte of what is stored under a storage's key, all of it being there.
   * @throws LatentDiffusionError `ERR_CHECKPOINT_INVALID`
   */
  locate(storage: PickleStorage): number;
}

/**
 * Read what a zip file of `torch.save` describes; the tensors' values are left where they are.
 * @throws LatentDiffusionError `ERR_CHECKPOINT_INVALID` naming the file, the record and what is wrong
 */
export async function readZipFile(source: ByteSource, path: string): Promise<TorchContent> {
  const archive = await ZipArchive.open(source, path);
  const fail = (what: string): never => {
    throw new LatentDiffusionError("ERR_CHECKPOINT_INVALID", `${path}: ${what}`);
  };
  const records = [...archive.records.values()].filter(({ name }) => /^[^/]+\/data\.pkl$/.test(name));
  const [record] = records;
  if (!record || records.length > 1)
    return fail(`a zip archive with ${records.length} records named */data.pkl, where a file of torch.save has one`);
  const prefix = record.name.slice(0, -"data.pkl".length);
  if (archive.records.has(`${prefix}constants.pkl`))
    return fail(
      "a TorchScript file; LDMPipeline.fromTorchScript and ScriptModule.load read it, with { trusted: true }",
    );
  const order = archive.records.get(`${prefix}byteorder`);
  if (order && Buffer.from(await archive.read(order, 16)).toString("latin1") !== "little")
    return fail("its numbers are not little-endian: save it again on another machine");
  const where = `${path}: ${record.name}`;
  const meaning = torchMeaning((what, position) => fail(`${record.name}: ${what} at byte ${position}`));
  const { value } = await readPickle(await archive.read(record, MAX_PICKLE_BYTES), where, meaning);
  return { value, locate: (storage) => locate(archive, `${prefix}data/${storage.key}`, storage, fail) };
}

function locate(
  archive: ZipArchive,
  name: string,
  { dtype, total, type }: PickleStorage,
  fail: (what: string) => never,
): number {
  const record = archive.records.get(name);
  if (!record) return fail(`the record ${quote(name)} is missing`);
  if (record.method !== "stored")
    return fail(`the record ${quote(name)} is compressed (${record.method}); torch.save stores tensors as they are`);
  const bytes = total * itemBytes(dtype ?? "uint8");
  if (record.size !== bytes)
    return fail(
      `the record ${quote(name)} has ${record.size} bytes, but the pickle says ${total} elements of ${type}, which take ${bytes}`,
    );
  return record.offset;
}
