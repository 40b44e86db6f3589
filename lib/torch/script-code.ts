import { inSteps } from "../files/json.js";

/** LibTorch's compiler recurses into expressions and blocks without a bound of its own; what `torch.jit.save` prints nests a few levels. */
const MAX_DEPTH = 200;

/** Strings, comments, names, numbers, breaks of lines with what they are followed by, and every other character alone. */
const TOKENS =
  /'''[^]*?'''|"""[^]*?"""|'(?:[^'\\\n]|\\[^])*'|"(?:[^"\\\n]|\\[^])*"|#[^\n]*|[A-Za-z_]\w*|[0-9][\w.]*|\n[ \t]*|[^\s]/g;

/** Words that nest one expression in another. */
const NESTING_WORDS: ReadonlySet<string> = new Set([
  "and",
  "or",
  "not",
  "in",
  "is",
  "if",
  "else",
  "for",
  "lambda",
  "await",
]);
const OPENING = "([{";
const CLOSING = ")]}";
/** What ends the expression before it. */
const SEPARATORS = ",:;";

/** A block of lines that are indented alike. */
interface Block {
  readonly width: number;
  /** The conditions chained by `elif`, each of which is nested in the one before. */
  chained: number;
}

/**
 * Check that TorchScript source, or a type's name, nests no deeper than LibTorch's compiler can follow on its stack. The depth counted is
 * no less than the true one: brackets, blocks, and every operator of one expression.
 * @returns what is wrong; undefined for nothing
 */
export async function checkNesting(source: string): Promise<string | undefined> {
  const counter = new NestingCounter();
  let problem: string | undefined;
  await inSteps(source.matchAll(TOKENS), ({ 0: token, index }) => {
    if (problem !== undefined || counter.read(token) <= MAX_DEPTH) return;
    const line = source.slice(0, index).split("\n").length;
    problem = `line ${line} nests expressions or blocks deeper than ${MAX_DEPTH} levels`;
  });
  return problem;
}

class NestingCounter {
  /** Of each open bracket, and of the statement itself: operators since the last separator. */
  #operators = [0];
  readonly #blocks: Block[] = [{ width: 0, chained: 0 }];
  #isFirst = true;
  /** The sum of them. */
  #total = 0;
  /** Of the line's indentation. */
  #width = 0;

  /** @returns the depth after the token */
  read(token: string): number {
    const first = token[0] ?? "";
    if (first === "#") return 0;
    if (first === "\n") this.#endLine(token.length - 1);
    else this.#readWithinLine(token, first);
    return this.#total + this.#blocks.length + this.#blocks.reduce((sum, { chained }) => sum + chained, 0);
  }

  #endLine(width: number): void {
    // Within brackets a statement goes on.
    if (this.#operators.length > 1) return;
    this.#operators = [0];
    this.#total = 0;
    this.#isFirst = true;
    this.#width = width;
  }

  #readWithinLine(token: string, first: string): void {
    if (this.#isFirst) this.#startStatement(token);
    this.#isFirst = false;
    if (OPENING.includes(first)) {
      this.#count(1);
      this.#operators.push(0);
    } else if (CLOSING.includes(first)) {
      if (this.#operators.length > 1) this.#total -= this.#operators.pop() ?? 0;
    } else if (SEPARATORS.includes(first)) {
      this.#count(-(this.#operators.at(-1) ?? 0));
    } else if (NESTING_WORDS.has(token) || !/[\w'"]/.test(first)) {
      this.#count(1);
    }
  }

  #count(by: number): void {
    this.#operators.push((this.#operators.pop() ?? 0) + by);
    this.#total += by;
  }

  #startStatement(token: string): void {
    while (this.#blocks.length > 1 && (this.#blocks.at(-1)?.width ?? 0) > this.#width) this.#blocks.pop();
    if (this.#width > (this.#blocks.at(-1)?.width ?? 0)) this.#blocks.push({ width: this.#width, chained: 0 });
    const block = this.#blocks.at(-1);
    if (!block) return;
    if (token === "elif") block.chained++;
    else if (token !== "else") block.chained = 0;
  }
}
