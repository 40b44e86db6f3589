/** A stream that is written to: `process.stdout`, or a test's. */
export interface OutputStream {
  readonly isTTY?: boolean;
  write(chunk: string | Uint8Array, done?: (error?: Error | null) => void): boolean;
}

/** Where a program writes, and whether it may use colours. */
export interface TerminalOptions {
  readonly stdout: OutputStream;
  readonly stderr: OutputStream;
  readonly env: Readonly<Record<string, string | undefined>>;
}

const STYLES = { bold: [1, 22], dim: [2, 22], red: [31, 39], green: [32, 39], yellow: [33, 39] } as const;

export type Style = keyof typeof STYLES;

const BAR_WIDTH = 28;
const EIGHTHS = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/** The bar is not redrawn more often than this, in milliseconds. */
const REDRAW_EVERY = 50;

/** Results go to standard output, everything else to standard error. */
export class Terminal {
  readonly #options: TerminalOptions;

  constructor(options: TerminalOptions) {
    this.#options = options;
  }

  /** Whether bytes of a picture written to standard output would land on a screen. */
  get showsResults(): boolean {
    return this.#options.stdout.isTTY === true;
  }

  /** Print a part of the result: a line of text, or bytes as they are. Settles when it is written. */
  async result(content: string | Uint8Array): Promise<void> {
    const chunk = typeof content === "string" ? `${content}\n` : content;
    await new Promise<void>((resolve, reject) => {
      this.#options.stdout.write(chunk, (error) => (error ? reject(error) : resolve()));
    });
  }

  /** Print a line beside the result. */
  note(line: string): void {
    this.#options.stderr.write(`${line}\n`);
  }

  /**
   * Colour a text for one of the two streams.
   * @param stream which decides: colours are for terminals, and not where NO_COLOR is set to anything
   */
  style(style: Style, text: string, stream: "stdout" | "stderr" = "stderr"): string {
    const { env } = this.#options;
    if (!this.#options[stream].isTTY || env.NO_COLOR || env.TERM === "dumb") return text;
    const [on, off] = STYLES[style];
    return `\x1b[${on}m${text}\x1b[${off}m`;
  }

  /**
   * Begin a bar on standard error: redrawn on a terminal, elsewhere a line for each tenth of the way.
   * @param total what counts as the end
   * @param label says after the bar how far it is
   */
  progress(total: number, label: (done: number) => string): ProgressBar {
    return new ProgressBar(this.#options.stderr, total, label);
  }
}

/** A bar with the time that is left. */
export class ProgressBar {
  readonly #stream: OutputStream;
  readonly #total: number;
  readonly #label: (done: number) => string;
  readonly #begun = performance.now();
  #drawn = -Infinity;
  #tenths = 0;

  constructor(stream: OutputStream, total: number, label: (done: number) => string) {
    this.#stream = stream;
    this.#total = total;
    this.#label = label;
  }

  /** @param done from 0 to the total */
  update(done: number): void {
    const share = this.#total > 0 ? Math.min(1, done / this.#total) : 1;
    const text = `${drawBar(share)} ${this.#label(done)}${this.#timeLeft(share)}`;
    if (this.#stream.isTTY) {
      const now = performance.now();
      if (now - this.#drawn < REDRAW_EVERY && share < 1) return;
      this.#drawn = now;
      this.#stream.write(`\r${text}\x1b[K`);
    } else if (Math.floor(share * 10) > this.#tenths) {
      this.#tenths = Math.floor(share * 10);
      this.#stream.write(`${text}\n`);
    }
  }

  /** Remove the bar from a terminal. */
  clear(): void {
    if (this.#stream.isTTY) this.#stream.write("\r\x1b[K");
  }

  #timeLeft(share: number): string {
    if (share === 0 || share === 1) return "";
    const elapsed = (performance.now() - this.#begun) / 1000;
    return `, ${formatSeconds((elapsed * (1 - share)) / share)} left`;
  }
}

function drawBar(share: number): string {
  const eighths = Math.round(share * BAR_WIDTH * 8);
  return `▕${("█".repeat(Math.floor(eighths / 8)) + (EIGHTHS[eighths % 8] ?? "")).padEnd(BAR_WIDTH)}▏`;
}

/** Write a duration for people: `0.4 s`, `12 s`, `3 min 5 s`, `2 h 10 min`. */
export function formatSeconds(seconds: number): string {
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  return whole < 3600 ? `${minutes} min ${whole % 60} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Write a number of bytes for people: `512 B`, `1.5 MB`, `4.7 GB`. */
export function formatBytes(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = 0;
  while (value >= 999.95 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return unit === 0 ? `${value} B` : `${value.toFixed(1)} ${units[unit] ?? ""}`;
}
