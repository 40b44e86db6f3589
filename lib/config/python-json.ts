import { isJsonObject, type JsonObject, type JsonValue } from "../files/json.js";

/**
 * The config keys of diffusers 0.42.1's UNet2DModel, VQModel and schedulers whose values are floats in Python. JavaScript has
 * one type of number, so a file's `1.0` arrives as `1`; by these names it leaves as `1.0` again, and a config that was
 * never in Python gets what Python would have written. Keys of other classes that happen to hold a whole float are
 * written as integers, which Python compares as equal.
 */
const FLOAT_KEYS: ReadonlySet<string> = new Set([
  "beta_end",
  "beta_start",
  "clip_sample_range",
  "dropout",
  "dynamic_thresholding_ratio",
  "eta",
  "flow_shift",
  "lambda_min_clipped",
  "max_shift",
  "base_shift",
  "norm_eps",
  "rho",
  "s_noise",
  "sample_max_value",
  "sampling_eps",
  "scaling_factor",
  "shift",
  "shift_terminal",
  "sigma_data",
  "sigma_max",
  "sigma_min",
  "snr",
  "snr_shift_scale",
  "timestep_scaling",
  "trained_betas",
]);

/** As Python's `json.dumps(value, indent=2, sort_keys=True)` and a newline, the way diffusers writes its files. */
export function stringifyConfig(value: JsonObject): string {
  return `${format(value, "", false)}\n`;
}

function format(value: JsonValue, indent: string, isFloat: boolean): string {
  if (typeof value === "number") return formatNumber(value, isFloat);
  if (typeof value === "string") return formatString(value);
  if (typeof value !== "object" || value === null) return String(value);
  const inner = `${indent}  `;
  if (isJsonObject(value)) {
    const keys = Object.keys(value)
      .filter((key) => value[key] !== undefined)
      .sort(byCodePoint);
    return bracket(
      "{",
      "}",
      indent,
      keys.map((key) => `${formatString(key)}: ${format(value[key] ?? null, inner, FLOAT_KEYS.has(key))}`),
    );
  }
  return bracket(
    "[",
    "]",
    indent,
    value.map((item) => format(item, inner, isFloat)),
  );
}

function bracket(open: string, close: string, indent: string, items: readonly string[]): string {
  if (items.length === 0) return open + close;
  return `${open}\n${indent}  ${items.join(`,\n${indent}  `)}\n${indent}${close}`;
}

/** Python's order of strings; JavaScript's own compares UTF-16 units, which differs beyond U+FFFF. */
function byCodePoint(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

/** As Python's `repr`: the same shortest digits as JavaScript's, but an exponent from 1e16 on and below 1e-4, and of two digits. */
function formatNumber(value: number, isFloat: boolean): string {
  if (!Number.isFinite(value)) return String(value);
  if (Number.isSafeInteger(value) && !isFloat) return String(value);
  const magnitude = Math.abs(value);
  if (magnitude !== 0 && (magnitude >= 1e16 || magnitude < 1e-4)) {
    return value.toExponential().replace(/e([+-])(\d)$/, "e$10$2");
  }
  // Below 1e16 JavaScript writes no exponent; a whole number lacks only its point.
  const digits = Object.is(value, -0) ? "-0" : String(value);
  return digits.includes(".") ? digits : `${digits}.0`;
}

/** As Python's `ensure_ascii`: all but printable ASCII escaped. */
function formatString(value: string): string {
  return JSON.stringify(value).replace(/[^ -~]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
