const FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏";

/** Says what each part does and how long it took; a part that had nothing to do says nothing unless `verbose`. */
export class Report {
  /** @param {{ stream?: NodeJS.WriteStream, verbose?: boolean }} [options] */
  constructor({ stream = process.stdout, verbose = false } = {}) {
    this.stream = stream;
    this.verbose = verbose;
  }

  /**
   * Run one part.
   * @template T
   * @param {string} name
   * @param {(say: (doing: string) => void, note: (text: string) => void) => Promise<{ result: string, value?: T, failed?: boolean }>} work
   *   calls `say` before anything that takes time, `note` for what is to stay to be read
   * @returns {Promise<T | undefined>}
   */
  async part(name, work) {
    const begun = performance.now();
    const line = new Line(this.stream, name);
    try {
      const { result, value, failed } = await work(
        (doing) => line.show(doing),
        (text) => line.note(text),
      );
      const seconds = (performance.now() - begun) / 1000;
      if (line.shown || this.verbose) line.finish(this.#timed(result, seconds), failed);
      return value;
    } catch (error) {
      line.clear();
      throw error;
    }
  }

  /**
   * Print a part that was timed elsewhere.
   * @param {string} name
   * @param {string} result
   * @param {number} seconds
   */
  done(name, result, seconds) {
    new Line(this.stream, name).finish(this.#timed(result, seconds));
  }

  #timed(result, seconds) {
    return `${result} ${dim(this.stream, `(${formatSeconds(seconds)})`)}`;
  }

  /** @param {string} text */
  write(text) {
    this.stream.write(`${text}\n`);
  }
}

/** One line that is redrawn on a terminal, and printed as two lines elsewhere. */
class Line {
  #stream;
  #name;
  #timer;
  #doing = "";
  #begun = performance.now();
  shown = false;

  constructor(stream, name) {
    this.#stream = stream;
    this.#name = name.padEnd(13);
  }

  show(doing) {
    this.shown = true;
    this.#doing = doing;
    if (!this.#stream.isTTY) {
      this.#stream.write(`  ${this.#name}${doing} ...\n`);
      return;
    }
    this.#timer ??= setInterval(() => this.#draw(), 100).unref();
    this.#draw();
  }

  note(text) {
    if (this.#stream.isTTY && this.shown) this.#stream.write("\r\x1b[K");
    this.#stream.write(`  ${this.#name}${text}\n`);
  }

  finish(text, failed = false) {
    this.clear();
    this.#stream.write(`${mark(this.#stream, failed)} ${this.#name}${text}\n`);
  }

  clear() {
    clearInterval(this.#timer);
    if (this.#stream.isTTY && this.shown) this.#stream.write("\r\x1b[K");
  }

  #draw() {
    const elapsed = (performance.now() - this.#begun) / 1000;
    const frame = FRAMES[Math.floor(elapsed * 10) % FRAMES.length];
    const text = `${frame} ${this.#name}${this.#doing} ... ${Math.floor(elapsed)} s`;
    this.#stream.write(`\r${text.slice(0, (this.#stream.columns || 80) - 1)}\x1b[K`);
  }
}

function mark(stream, failed) {
  const sign = failed ? "✗" : "✓";
  return stream.isTTY ? `\x1b[${failed ? 31 : 32}m${sign}\x1b[0m` : sign;
}

function dim(stream, text) {
  return stream.isTTY ? `\x1b[2m${text}\x1b[0m` : text;
}

/**
 * Write a duration as people say it.
 * @param {number} seconds
 */
export function formatSeconds(seconds) {
  if (seconds < 10) return `${seconds.toFixed(seconds < 1 ? 2 : 1)} s`;
  if (seconds < 100) return `${Math.round(seconds)} s`;
  return `${Math.floor(seconds / 60)} min ${String(Math.round(seconds % 60)).padStart(2, "0")} s`;
}
