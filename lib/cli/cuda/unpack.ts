import { createReadStream, createWriteStream } from "node:fs";
import { mkdir, open, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { createInflateRaw } from "node:zlib";
import { raiseIo } from "../../files/atomic-file.js";
import type { ByteSource } from "../../files/safetensors-header.js";
import { ZipArchive, type ZipRecord } from "../../files/zip.js";
import { CommandError } from "../failure.js";

/** Python's own libraries are of no use without Python. */
const PYTHON_ONLY = /\/lib(torch_python|shm|torch_global_deps)\.so$/;

/** Whether a file of a wheel is part of a LibTorch: libraries, the file that holds the version, licences. */
export function isKept(name: string): boolean {
  if (!name.split("/").every((part) => /^[\w.+ -]+$/.test(part) && !/^\.+$/.test(part))) return false;
  if (name === "torch/version.py" || /\.dist-info\/(licenses\/|licen[sc]e)/i.test(name)) return true;
  return /^(torch\/lib|nvidia\/.*lib)\/[^/]+\.so(\.[\w.]+)?$/.test(name) && !PYTHON_ONLY.test(name);
}

/**
 * Unpack what a LibTorch needs of a wheel, in the layout of a Python's site-packages: the libraries look for each other by it
 * (`$ORIGIN/../../nvidia/cu13/lib`). The wheel's bytes must have been verified.
 * @param wheel the file's path
 * @param folder where `torch/` and `nvidia/` go
 * @param onBytes told of unpacked bytes as they are written
 * @throws LatentDiffusionError `ERR_IO`; CommandError `ERR_DOWNLOAD_FAILED` for a wheel that is no zip archive or is damaged; AbortError
 */
export async function unpackWheel(
  wheel: string,
  folder: string,
  onBytes: (count: number) => void,
  signal?: AbortSignal,
): Promise<void> {
  for (const record of await readRecords(wheel)) {
    if (!isKept(record.name)) continue;
    const path = join(folder, record.name);
    await mkdir(dirname(path), { recursive: true }).catch(raiseIo(`Cannot make the folder of ${path}`));
    await unpackRecord(wheel, record, path, signal);
    onBytes(record.size);
  }
}

async function readRecords(wheel: string): Promise<readonly ZipRecord[]> {
  const file = await open(wheel, "r").catch(raiseIo(`Cannot read ${wheel}`));
  try {
    const { size } = await file.stat();
    const read: ByteSource["read"] = async (offset, length) => {
      const { bytesRead, buffer } = await file.read(Buffer.alloc(length), 0, length, offset);
      return buffer.subarray(0, bytesRead);
    };
    const archive = await ZipArchive.open({ size, read }, wheel);
    return [...archive.records.values()];
  } catch (cause) {
    throw damaged(wheel, cause);
  } finally {
    await file.close();
  }
}

/** In pieces: one library has 600 MB. */
async function unpackRecord(wheel: string, record: ZipRecord, path: string, signal?: AbortSignal): Promise<void> {
  if (record.size === 0) return writeFile(path, "").catch(raiseIo(`Cannot write ${path}`));
  const { offset, storedSize, size, method } = record;
  const packed = createReadStream(wheel, { start: offset, end: offset + storedSize - 1 });
  const file = createWriteStream(path);
  const options = signal ? { signal } : {};
  try {
    if (method === "stored") await pipeline(packed, file, options);
    else await pipeline(packed, createInflateRaw(), file, options);
  } catch (cause) {
    if (signal?.aborted) throw cause;
    if (String((cause as NodeJS.ErrnoException).code).startsWith("Z_")) throw damaged(wheel, cause);
    raiseIo(`Cannot write ${path}`)(cause);
  }
  if (file.bytesWritten !== size)
    throw damaged(wheel, new Error(`${record.name} has ${file.bytesWritten} bytes instead of ${size}`));
}

function damaged(wheel: string, cause: unknown): CommandError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  const advice = "Remove the file and run the command again.";
  return new CommandError("ERR_DOWNLOAD_FAILED", `${wheel} cannot be unpacked: ${reason}`, advice, { cause });
}
