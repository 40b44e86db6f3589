import { formatSeconds } from "./report.mjs";

const WIDTH = 32;
const EIGHTHS = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/** A bar that is redrawn on a terminal; elsewhere one line a tenth of the way. */
export class ProgressBar {
  #stream;
  #total;
  #begun = performance.now();
  #tenths = 0;

  /**
   * @param {NodeJS.WriteStream} stream
   * @param {number} total steps
   */
  constructor(stream, total) {
    this.#stream = stream;
    this.#total = total;
    if (stream.isTTY) this.update(0);
  }

  /** @param {number} done steps, from 0 to the total */
  update(done) {
    const share = done / this.#total;
    if (this.#stream.isTTY) {
      this.#stream.write(`\r  ${this.#bar(share)} ${done}/${this.#total}${this.#remaining(share)}\x1b[K`);
    } else if (Math.floor(share * 10) > this.#tenths) {
      this.#tenths = Math.floor(share * 10);
      this.#stream.write(`  ${this.#bar(share)} ${done}/${this.#total}${this.#remaining(share)}\n`);
    }
  }

  clear() {
    if (this.#stream.isTTY) this.#stream.write("\r\x1b[K");
  }

  #bar(share) {
    const eighths = Math.round(share * WIDTH * 8);
    const bar = "█".repeat(Math.floor(eighths / 8)) + EIGHTHS[eighths % 8];
    return `▕${bar.padEnd(WIDTH)}▏`;
  }

  #remaining(share) {
    if (share === 0 || share >= 1) return "";
    const elapsed = (performance.now() - this.#begun) / 1000;
    return `, ${formatSeconds((elapsed * (1 - share)) / share)} left`;
  }
}
