import { isJsonObject, type JsonObject, type JsonValue } from "../files/json.js";
import { isFloatToken, pathOf, type Spelling } from "./number-spelling.js";

/** Which whole numbers are floats to Python. */
export interface FloatRules {
  /** Whether a key of the top level holds floats. */
  readonly isFloat?: (key: string) => boolean;
  /** How the file that the value came from spelled a number; it overrules the key. */
  readonly spelling?: Spelling;
}

/** As Python's `json.dumps(value, indent=2, sort_keys=True)` and a newline, the way diffusers writes its files. */
export function stringifyConfig(value: JsonObject, rules: FloatRules = {}): string {
  return `${format(value, { indent: "", path: "", isFloat: false }, rules)}\n`;
}

/** Where a value is. */
interface Place {
  readonly indent: string;
  readonly path: string;
  /** Whether its key holds floats. */
  readonly isFloat: boolean;
}

function format(value: JsonValue, { indent, path, isFloat }: Place, rules: FloatRules): string {
  if (typeof value === "number") {
    const token = rules.spelling?.[path];
    return formatNumber(value, token !== undefined && Number(token) === value ? isFloatToken(token) : isFloat);
  }
  if (typeof value === "string") return formatString(value);
  if (typeof value !== "object" || value === null) return String(value);
  const inner = (key: string | number, own: boolean): Place => ({
    indent: `${indent}  `,
    path: pathOf(path, key),
    isFloat: own,
  });
  if (isJsonObject(value)) {
    const keys = Object.keys(value)
      .filter((key) => value[key] !== undefined)
      .sort(byCodePoint);
    const entry = (key: string): string => {
      const own = path === "" ? (rules.isFloat?.(key) ?? false) : isFloat;
      return `${formatString(key)}: ${format(value[key] ?? null, inner(key, own), rules)}`;
    };
    return bracket("{", "}", indent, keys.map(entry));
  }
  return bracket(
    "[",
    "]",
    indent,
    value.map((item, i) => format(item, inner(i, isFloat), rules)),
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
