import { LatentDiffusionError } from "../errors.js";
import { inSteps } from "../files/json.js";
import { PickleObject, type PickleValue } from "../files/pickle-values.js";
import { readScriptPickle } from "./script-pickle.js";

const WITH_TABLE = "FORMAT_WITH_STRING_TABLE";
/** Of all sources that the ranges point into, each once. */
const MAX_TEXT_BYTES = 64_000_000;

/**
 * Check the record that says which line of Python each line of TorchScript came from. LibTorch reads it when an error is to be told, and
 * follows its numbers without looking at them.
 * @param where what is read, for messages
 * @throws LatentDiffusionError `ERR_CHECKPOINT_INVALID`
 */
export async function checkDebugRecord(bytes: Uint8Array, where: string): Promise<void> {
  const value = await readScriptPickle(bytes, where);
  const [format, table, lines] = listOf(value);
  const hasTable = format === WITH_TABLE;
  const texts = hasTable ? listOf(table).map(byteLengthOf) : [];
  const sources = new Map<PickleValue, number | undefined>();
  let total = 0;
  await inSteps(listOf(hasTable ? lines : value).entries(), ([i, line]) => {
    const problem = checkLine(line, (source) => {
      if (sources.has(source)) return sources.get(source);
      const length = hasTable ? tableLength(source, texts) : textLength(source);
      total += length ?? 0;
      sources.set(source, total > MAX_TEXT_BYTES ? undefined : length);
      return sources.get(source);
    });
    if (problem !== undefined)
      throw new LatentDiffusionError("ERR_CHECKPOINT_INVALID", `${where}: its entry ${i} ${problem}`);
  });
  if (!Array.isArray(value) || value.length === 0 || (hasTable && texts.includes(undefined)))
    throw new LatentDiffusionError("ERR_CHECKPOINT_INVALID", `${where}: not the form of such a record`);
}

/** An entry is `(offset, (source, begin, end), tag)`. */
function checkLine(line: PickleValue, lengthOf: (source: PickleValue) => number | undefined): string | undefined {
  const [offset, range] = listOf(line);
  const [source, begin, end, ...rest] = listOf(range);
  if (!isIndex(offset) || source === undefined || rest.length > 0) return "is no place and range";
  const length = lengthOf(source);
  if (length === undefined) return "has a source that is none, or is too long";
  // LibTorch's own mark for code without a source is the range 0 to 1 of an empty one.
  if (!isIndex(begin) || !isIndex(end) || begin > end || end > Math.max(length, 1))
    return `has a range beyond its source of ${length} bytes`;
  return undefined;
}

/** A source is `(indexes of its lines in the table, index of its file, number of its first line)`. */
function tableLength(source: PickleValue, texts: readonly (number | undefined)[]): number | undefined {
  const [lines, file, first, ...rest] = listOf(source);
  const indexes = lines instanceof PickleObject ? listOf(listOf(lines.parts[0])[0]) : listOf(lines);
  if (!isIndex(file) || file >= Math.max(texts.length, 1) || !isIndex(first) || rest.length > 0) return undefined;
  let length = 0;
  for (const index of indexes) {
    if (!isIndex(index) || index >= texts.length) return undefined;
    length += texts[index] ?? 0;
  }
  return length;
}

/** In older files a source is `(text, file or None, number of its first line)`. */
function textLength(source: PickleValue): number | undefined {
  const [text, file, first, ...rest] = listOf(source);
  const isSource = (file === null || typeof file === "string") && isIndex(first) && rest.length === 0;
  return isSource ? byteLengthOf(text) : undefined;
}

function byteLengthOf(text: PickleValue | undefined): number | undefined {
  return typeof text === "string" ? Buffer.byteLength(text) : undefined;
}

function listOf(value: PickleValue | undefined): readonly PickleValue[] {
  return Array.isArray(value) ? value : [];
}

function isIndex(value: PickleValue | undefined): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}
