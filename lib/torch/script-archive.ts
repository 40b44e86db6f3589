import { LatentDiffusionError } from "../errors.js";
import { decodeUtf8 } from "../files/json.js";
import type { ByteSource } from "../files/safetensors-header.js";
import { ZipArchive, type ZipRecord } from "../files/zip.js";
import { settle } from "../native/calls.js";
import { native } from "../native/open.js";
import { quote } from "../validate.js";
import { checkNesting } from "./script-code.js";
import { checkDebugRecord } from "./script-debug.js";
import { checkScriptPickle } from "./script-pickle.js";

/** What describes a network's modules and constants. */
const MAX_PICKLE_BYTES = 32_000_000;
/** All code and its debug records, unpacked: a network's takes some hundred kilobytes. */
const MAX_CODE_BYTES = 64_000_000;

/**
 * Check a TorchScript file before LibTorch reads it: `trusted` means that its code may run, not that the file may be damaged, and LibTorch's own
 * reader follows wrong numbers into memory that is not the file's.
 * @throws LatentDiffusionError `ERR_CHECKPOINT_NOT_FOUND`, `ERR_IO`; `ERR_TORCHSCRIPT_INVALID` naming the file, the record and what is wrong
 */
export async function checkScriptFile(path: string): Promise<void> {
  const { handle, size } = await settle(() => native().checkpointOpen(path), checkScriptFile);
  const read = (offset: number, length: number): Promise<Uint8Array> =>
    settle(() => native().checkpointRead(handle, offset, length), checkScriptFile);
  try {
    await checkScriptSource({ size, read }, path);
  } finally {
    native().dispose(handle);
  }
}

/** As {@link checkScriptFile}, for bytes from anywhere. */
export async function checkScriptSource(source: ByteSource, path: string): Promise<void> {
  try {
    await checkArchive(await ZipArchive.open(source, path), path);
  } catch (error) {
    if (!(error instanceof LatentDiffusionError) || error.code !== "ERR_CHECKPOINT_INVALID") throw error;
    throw new LatentDiffusionError(
      "ERR_TORCHSCRIPT_INVALID",
      `Not a TorchScript file, or a damaged one: ${error.message}`,
      {
        cause: error,
      },
    );
  }
}

async function checkArchive(archive: ZipArchive, path: string): Promise<void> {
  const prefix = findPrefix(archive, path);
  const sizeIn = (folder: string) => (key: string) => {
    const record = archive.records.get(`${prefix}${folder}/${key}`);
    return record?.method === "stored" ? record.size : undefined;
  };
  for (const name of ["data", "constants"]) {
    const record = archive.records.get(`${prefix}${name}.pkl`);
    if (!record) throw invalid(path, `the record ${quote(`${prefix}${name}.pkl`)} is missing`);
    await checkScriptPickle(await archive.read(record, MAX_PICKLE_BYTES), `${path}: ${record.name}`, sizeIn(name));
  }
  let left = MAX_CODE_BYTES;
  for (const record of archive.records.values()) {
    if (!record.name.startsWith(`${prefix}code/`)) continue;
    await checkCode(archive, record, left, path);
    left -= record.size;
  }
}

async function checkCode(archive: ZipArchive, record: ZipRecord, limit: number, path: string): Promise<void> {
  const where = `${path}: ${record.name}`;
  const bytes = await archive.read(record, limit);
  if (record.name.endsWith(".debug_pkl")) return checkDebugRecord(bytes, where);
  const problem = await checkNesting(decodeUtf8(bytes, where));
  if (problem !== undefined) throw invalid(where, problem);
}

/** All records are in one folder, and LibTorch finds them by their names in any case. */
function findPrefix(archive: ZipArchive, path: string): string {
  const names = [...archive.records.keys()];
  const prefix = /^[^/]*\//.exec(names[0] ?? "")?.[0];
  if (prefix === undefined) throw invalid(path, "a zip archive without the folder that torch.jit.save writes");
  const folded = new Map<string, string>();
  for (const name of names) {
    if (!name.startsWith(prefix))
      throw invalid(path, `the record ${quote(name)} is outside of the folder ${quote(prefix)}`);
    const other = folded.get(name.toLowerCase());
    if (other !== undefined) throw invalid(path, `the records ${quote(other)} and ${quote(name)} differ by case alone`);
    folded.set(name.toLowerCase(), name);
  }
  return prefix;
}

function invalid(where: string, what: string): LatentDiffusionError {
  return new LatentDiffusionError("ERR_CHECKPOINT_INVALID", `${where}: ${what}`);
}
