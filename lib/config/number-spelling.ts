import type { JsonObject } from "../files/json.js";

/**
 * How a file spelled its whole numbers where it matters: from the path of a number to its token, `"1.0"` or `"1"`. JavaScript has one
 * type of number; Python has two, and a file that is loaded and saved must keep them. The key is a symbol, so that a spread copy of a
 * config has it and JSON does not.
 */
export const SPELLING: unique symbol = Symbol("how the file spelled its whole numbers");

export type Spelling = Readonly<Record<string, string>>;

/** What a config may have beside its keys. */
interface Spelled {
  readonly [SPELLING]?: Spelling;
}

/** Get the spelling that a config carries. */
export function spellingOf(config: object): Spelling {
  return (config as Spelled)[SPELLING] ?? {};
}

/** Return the config with a spelling; without one if nothing needs it. */
export function withSpelling<T extends JsonObject>(config: T, spelling: Spelling): T {
  if (Object.keys(spelling).length > 0) Object.defineProperty(config, SPELLING, { value: spelling, enumerable: true });
  return config;
}

/** Extend a path by a key or an index, as a JSON pointer. @see https://www.rfc-editor.org/rfc/rfc6901 */
export function pathOf(parent: string, key: string | number): string {
  return `${parent}/${String(key).replaceAll("~", "~0").replaceAll("/", "~1")}`;
}

/** Whether a token is a float to Python. */
export function isFloatToken(token: string): boolean {
  return /[.eE]/.test(token);
}

/** One object or array that is being read. */
interface Level {
  readonly path: string;
  /** The index of the next item of an array; the key of the next value of an object. */
  at: number | string;
  /** Whether the next string is a key. */
  expectsKey: boolean;
}

const TOKEN = /"(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*|[{}[\],:]|-?[A-Za-z]+/g;

/**
 * Find the tokens of all whole numbers, by their paths.
 * @param text JSON that a parser has accepted already
 */
export function wholeNumberTokens(text: string): Spelling {
  const found: Record<string, string> = {};
  const levels: Level[] = [];
  const here = (): string => {
    const level = levels.at(-1);
    return level ? pathOf(level.path, level.at) : "";
  };
  for (const [token] of text.matchAll(TOKEN)) {
    const level = levels.at(-1);
    if (token === "{" || token === "[")
      levels.push({ path: here(), at: token === "[" ? 0 : "", expectsKey: token === "{" });
    else if (token === "}" || token === "]") levels.pop();
    else if (token === "," && level) {
      if (typeof level.at === "number") level.at++;
      else level.expectsKey = true;
    } else if (token.startsWith('"') && level?.expectsKey === true) {
      level.at = JSON.parse(token) as string;
      level.expectsKey = false;
    } else if (/^-?[0-9]/.test(token) && Number.isInteger(Number(token))) found[here()] = token;
  }
  return found;
}
