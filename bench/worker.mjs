import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { projectRoot } from "../scripts/setup/paths.mjs";

/**
 * One participant of a comparison, in a process of its own that answers one request at a time, so that two can take turns
 * within a second and whatever slows the machine slows both.
 */
export class Worker {
  #child;
  #replies;
  #stderr = "";

  /**
   * @param {readonly string[]} command
   * @param {NodeJS.ProcessEnv} env
   */
  constructor([program, ...args], env) {
    this.#child = spawn(program, args, { cwd: projectRoot, env, stdio: ["pipe", "pipe", "pipe"] });
    this.#child.stderr.setEncoding("utf8").on("data", (text) => (this.#stderr += text));
    this.#replies = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  /**
   * Ask for something and wait for the answer.
   * @param {string} name
   * @param {object} [request]
   * @returns {Promise<Record<string, number & string>>}
   * @throws {Error} with what the process said last, if it ends instead
   */
  async ask(name, request = {}) {
    this.#child.stdin.write(`${JSON.stringify({ do: name, ...request })}\n`);
    const { value, done } = await this.#replies.next();
    if (done) throw new Error(`${this.#child.spawnargs.join(" ")} ended at "${name}":\n${this.#stderr.slice(-2000)}`);
    return JSON.parse(value);
  }

  /** Close the process and wait for its end. */
  async close() {
    if (this.#child.exitCode !== null) return;
    const closed = new Promise((resolve) => this.#child.once("close", resolve));
    this.#child.stdin.end();
    await closed;
  }
}
