import type { DType, NumericArray } from "../native/contract.js";

/** Where the middle of a dimension is left out, so many are shown at each end. */
export const EDGE = 3;

/** Columns that a row may take. */
const ROW_WIDTH = 80;

/**
 * Write a tensor's values nested by its shape, floats to five digits, in columns.
 * @param values row-major
 * @param elided for each dimension, whether its middle is left out of `values` and `shape`
 * @see torch.set_printoptions
 */
export function formatValues(
  values: NumericArray,
  shape: readonly number[],
  dtype: DType,
  elided: readonly boolean[],
): string {
  if (values.length === 0) return "[]";
  const texts = Array.from<number | bigint, string>(values, (value) =>
    dtype === "bool" ? String(value === 1) : formatNumber(value),
  );
  const width = Math.max(...texts.map((text) => text.length));
  return nest(
    texts.map((text) => text.padStart(width)),
    shape,
    elided,
    0,
  );
}

function nest(texts: readonly string[], shape: readonly number[], elided: readonly boolean[], depth: number): string {
  const [size, ...rest] = shape;
  if (size === undefined) return texts[0] ?? "";
  const each = texts.length / size;
  const items = Array.from({ length: size }, (_, i) =>
    nest(texts.slice(i * each, (i + 1) * each), rest, elided.slice(1), depth + 1),
  );
  if (elided[0]) items.splice(EDGE, 0, "...");
  const indent = " ".repeat(depth + 1);
  // A blank line more between what has a dimension more, as PyTorch writes it.
  const rows = rest.length === 0 ? wrap(items, ROW_WIDTH - depth) : items;
  return `[${rows.join(`,${"\n".repeat(Math.max(1, rest.length))}${indent}`)}]`;
}

/** Lay the values of a row out in lines. */
function wrap(items: readonly string[], columns: number): string[] {
  const width = Math.max(...items.map((item) => item.length)) + 2;
  const count = Math.max(1, Math.floor(columns / width));
  return Array.from({ length: Math.ceil(items.length / count) }, (_, i) =>
    items.slice(i * count, (i + 1) * count).join(", "),
  );
}

function formatNumber(value: number | bigint): string {
  if (typeof value === "bigint" || !Number.isFinite(value) || (Number.isInteger(value) && Math.abs(value) < 1e7)) {
    return Object.is(value, -0) ? "-0" : String(value);
  }
  return value
    .toPrecision(5)
    .replace(/(\.\d*?)0+(?=e|$)/, "$1")
    .replace(/\.(?=e|$)/, "");
}
