import t from "tap";
import { formatBytes, formatSeconds, Terminal } from "../../lib/cli/terminal.js";

function terminalOf(isTTY: boolean, env: Record<string, string> = {}): { terminal: Terminal; written: string[] } {
  const written: string[] = [];
  const stream = {
    isTTY,
    write(chunk: string | Uint8Array) {
      written.push(String(chunk));
      return true;
    },
  };
  return { terminal: new Terminal({ stdout: stream, stderr: stream, env }), written };
}

t.test("colours are for terminals, and not where NO_COLOR is set", (t) => {
  t.equal(terminalOf(true).terminal.style("red", "x"), "\x1b[31mx\x1b[39m");
  t.equal(terminalOf(true, { NO_COLOR: "" }).terminal.style("red", "x"), "\x1b[31mx\x1b[39m", "empty counts as unset");
  t.equal(terminalOf(true, { NO_COLOR: "0" }).terminal.style("red", "x"), "x");
  t.equal(terminalOf(true, { TERM: "dumb" }).terminal.style("red", "x"), "x");
  t.equal(terminalOf(false).terminal.style("red", "x"), "x");
  t.end();
});

t.test("a bar is redrawn on a terminal, and is a line for each tenth elsewhere", (t) => {
  const screen = terminalOf(true);
  const bar = screen.terminal.progress(4, (done) => `${done} of 4`);
  bar.update(4);
  bar.clear();
  t.strictSame(screen.written, [`\r▕${"█".repeat(28)}▏ 4 of 4\x1b[K`, "\r\x1b[K"]);
  const file = terminalOf(false);
  const lines = file.terminal.progress(40, (done) => `${done} of 40`);
  for (let done = 0; done <= 40; done++) lines.update(done);
  lines.clear();
  t.equal(file.written.length, 10);
  t.match(file.written[4], /^▕█{14} {14}▏ 20 of 40, \d+\.\d s left\n$/);
  t.end();
});

t.test("durations and sizes are written for people", (t) => {
  const durations = [0, 9.94, 9.96, 59.4, 59.6, 3599, 3600, 7845].map(formatSeconds);
  t.strictSame(durations, ["0.0 s", "9.9 s", "10 s", "59 s", "1 min 0 s", "59 min 59 s", "1 h 0 min", "2 h 10 min"]);
  t.strictSame([0, 999, 1000, 999_960, 4.7e9].map(formatBytes), ["0 B", "999 B", "1.0 kB", "1.0 MB", "4.7 GB"]);
  t.end();
});
