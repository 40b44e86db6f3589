import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import t from "tap";
import { median, rowsOf } from "../../bench/statistics.mjs";
import { checkFile, checkHouse } from "../../scripts/check-house.mjs";
import { capture, runCommand } from "../../scripts/setup/command.mjs";
import { fingerprint } from "../../scripts/setup/fingerprint.mjs";
import { installTorch, versionOf } from "../../scripts/setup/libtorch.mjs";
import { withLock } from "../../scripts/setup/lock.mjs";
import { inProject } from "../../scripts/setup/paths.mjs";
import { ProgressBar } from "../../scripts/setup/progress-bar.mjs";
import { formatSeconds, Report } from "../../scripts/setup/report.mjs";
import { parseTotals, sumTotals } from "../../scripts/setup/tap.mjs";

/** A stream that keeps what is written. */
function recorder(isTTY = false): { stream: NodeJS.WriteStream; text: () => string } {
  let text = "";
  const stream = {
    isTTY,
    write: (chunk: string) => {
      text += chunk;
    },
  } as unknown as NodeJS.WriteStream;
  return { stream, text: () => text };
}

t.test("the house is in order", (t) => {
  t.strictSame(checkHouse(), []);
  t.end();
});

t.test("a breach of the house is found", (t) => {
  const cases: [path: string, text: string, complaint: RegExp][] = [
    ["lib/models/aB.ts", "", /kebab-case/],
    ["native/kernels/k.cc", "#include <napi.h>", /only binding/],
    ["native/torchscript/t.cc", '#include "binding/values.h"', /higher row/],
    ["native/binding/b.cc", "#include <torch/script.h>", /only torchscript/],
    ["native/loader/l.cc", "#include <ATen/ATen.h>", /before LibTorch is open/],
  ];
  for (const [path, text, complaint] of cases) t.match(checkFile(path, text).join("\n"), complaint, `${path}: ${text}`);
  t.strictSame(checkFile("lib/pipelines/p.ts", ""), []);
  t.end();
});

t.test("a breach of the rooms of lib is found", (t) => {
  const lib = {
    "errors.ts": "export const e = 1;",
    "index.ts": 'export * from "./pipelines/p.js";',
    pipelines: { "p.ts": 'export { m } from "../models/m.js"; export { e } from "../errors.js"; import "node:fs";' },
    models: { "m.ts": 'import { s } from "../schedulers/s.js"; export const m = s;' },
    schedulers: { "s.ts": 'import type { P } from "../pipelines/q.js"; export const s: P = 1;' },
    "util.ts": 'import { e } from "./errors.js"; import { t } from "./torch/t.js"; export const u = e + t;',
    torch: { "t.ts": 'export const t = async () => import("../image/i.js");' },
    image: { "i.ts": "export const i = 1;" },
  };
  const folder = t.testdir({
    lib: { ...lib, pipelines: { ...lib.pipelines, "q.ts": "export type P = number;" } },
    "tsconfig.json": "{}",
  });
  const bin = inProject("node_modules/dependency-cruiser/bin/dependency-cruise.mjs");
  const args = [bin, "--config", inProject(".dependency-cruiser.mjs"), "--output-type", "json", "lib"];
  // Without what tap puts into NODE_OPTIONS: its loaders do not know this tool's modules.
  const { stdout } = spawnSync(process.execPath, args, {
    cwd: folder,
    encoding: "utf8",
    env: { ...process.env, NODE_OPTIONS: "" },
  });
  const { summary } = JSON.parse(stdout) as {
    summary: { violations: { rule: { name: string }; from: string; to: string }[] };
  };
  const found = summary.violations.map(({ rule, from, to }) => `${rule.name}: ${from} -> ${to}`).sort();
  t.strictSame(found, [
    "known-room: lib/util.ts -> lib/errors.ts",
    "known-room: lib/util.ts -> lib/torch/t.ts",
    "models-imports: lib/models/m.ts -> lib/schedulers/s.ts",
    "schedulers-imports: lib/schedulers/s.ts -> lib/pipelines/q.ts",
    "torch-imports: lib/torch/t.ts -> lib/image/i.ts",
  ]);
  t.end();
});

t.test("totals are read from the end of a TAP stream, and only of one that ended well", (t) => {
  const assertions = "TAP version 14\n    # { total: 9, pass: 9 }\nok 1 - a\n1..1\n";
  t.strictSame(parseTotals(`${assertions}# { total: 6, pass: 3, fail: 1, todo: 1, skip: 1 }\n# time=3ms\n`), {
    passed: 3,
    failed: 1,
    skipped: 2,
  });
  t.strictSame(parseTotals(`${assertions}# { total: 6, pass: 6 }\n`), { passed: 6, failed: 0, skipped: 0 });
  t.throws(() => parseTotals(assertions), /no totals/);
  t.throws(() => parseTotals(`${assertions}# { total: 6, pass: 5 }\n`), /do not add up/);
  t.end();
});

t.test("totals of several runs are added up, and what was skipped is named", (t) => {
  const streams: Record<string, string> = {
    unit: "# Subtest: test/a.test.ts\n    ok 1 - fine\n    ok 2 - on Windows # SKIP counts in /proc\nok 1 - test/a.test.ts\n# { total: 2, pass: 1, skip: 1 }\n",
    parity:
      "# Subtest: test/b.test.ts\n    not ok 1 - broken\nnot ok 1 - test/b.test.ts\n# { total: 4, pass: 3, fail: 1 }\n",
    killed: "# Subtest: test/c.test.ts\n",
  };
  const read = (name: string): string => streams[name] ?? "";
  t.strictSame(sumTotals(["unit", "parity"], read), {
    passed: 4,
    failed: 1,
    lines: [
      "unit: 1 passed, 0 failed, 1 skipped",
      "  skipped: test/a.test.ts: on Windows (SKIP counts in /proc)",
      "parity: 3 passed, 1 failed, 0 skipped",
    ],
  });
  t.match(sumTotals(["unit", "killed"], read), {
    passed: 1,
    failed: 1,
    lines: { 2: /^killed: tap did not come to its end/ },
  });
  t.end();
});

t.test("LibTorch's version is read without opening it", (t) => {
  const folder = t.testdir({
    wheel: { "version.py": "from typing import Optional\n__version__ = '2.13.0+cpu'\ndebug = False\n" },
    archive: { "build-version": "2.13.0+cu126\n" },
    neither: {},
  });
  t.equal(versionOf(join(folder, "wheel")), "2.13.0+cpu");
  t.equal(versionOf(join(folder, "archive")), "2.13.0+cu126");
  t.equal(versionOf(join(folder, "neither")), undefined);
  t.equal(versionOf(join(folder, "nowhere")), undefined);
  t.end();
});

t.test(
  "torch comes from PyTorch's index of CPU builds alone, or else from where pip is configured to look",
  async (t) => {
    const folder = t.testdir({});
    const log = join(folder, "log");
    const pip = join(folder, "pip.mjs");
    writeFileSync(
      pip,
      `
    import { appendFileSync } from "node:fs";
    const args = process.argv.slice(2);
    const { PIP_EXTRA_INDEX_URL: extra = null, PIP_CONFIG_FILE: config = null } = process.env;
    appendFileSync(${JSON.stringify(log)}, JSON.stringify({ index: args.includes("--index-url"), alone: args.includes("--no-deps"), extra, config }) + "\\n");
    process.exit(args.includes("--index-url") && args.includes("unreachable") ? 1 : 0);
  `,
    );
    const before = process.env.PIP_EXTRA_INDEX_URL;
    process.env.PIP_EXTRA_INDEX_URL = "cuda";
    t.teardown(() => {
      if (before === undefined) delete process.env.PIP_EXTRA_INDEX_URL;
      else process.env.PIP_EXTRA_INDEX_URL = before;
    });
    const calls = (): unknown[] =>
      readFileSync(log, "utf8")
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line) as unknown);
    const options = { log: "test", advice: "none" };
    await installTorch([process.execPath, pip], "torch", options);
    t.match(calls(), [{ index: true, alone: true, extra: null, config: /nul/ }]);
    await installTorch([process.execPath, pip, "unreachable"], "torch", options);
    t.match(calls()[2], { index: false, alone: true, extra: "cuda" });
    t.equal(calls().length, 3);
  },
);

t.test("a product is made anew when a source changes, moves or goes", (t) => {
  const folder = ".local/tap/fingerprint";
  const write = (path: string, text: string): void => {
    const file = inProject(`${folder}/${path}`);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
  };
  write("a/one.cc", "1");
  const hash = (facts: string[] = []): string => fingerprint([`${folder}/a`, `${folder}/absent`], facts);
  const before = hash();
  t.equal(hash(), before, "nothing changed");
  t.not(hash(["2.13.0"]), before, "another LibTorch");
  write("a/one.cc", "2");
  t.not(hash(), before, "another content");
  write("a/one.cc", "1");
  t.equal(hash(), before, "the old content again");
  write(`a/${process.hrtime.bigint()}.cc`, "");
  t.not(hash(), before, "one file more");
  t.end();
});

t.test("one at a time: who comes second waits, and a lock that was left behind is taken over", async (t) => {
  const file = join(t.testdir({}), "inner", "setup.lock");
  const seen: string[] = [];
  const work = (name: string): Promise<string> =>
    withLock(
      file,
      async () => {
        seen.push(`${name} begins`);
        await new Promise((resolve) => setTimeout(resolve, 20));
        seen.push(`${name} ends`);
        return name;
      },
      () => seen.push(`${name} waits`),
    );
  t.strictSame(await Promise.all([work("a"), work("b")]), ["a", "b"]);
  t.strictSame(seen, ["a begins", "b waits", "a ends", "b begins", "b ends"]);
  await t.rejects(
    withLock(file, async () => {
      throw new Error("it failed");
    }),
    { message: "it failed" },
  );
  t.notOk(existsSync(file), "a failure lets go");
  writeFileSync(file, "of a process that was killed");
  utimesSync(file, 0, 0);
  t.equal(await work("c"), "c");
  t.equal(seen.at(-3), "b ends", "it did not wait");
});

t.test("many waiters of an abandoned lock: one at a time", async (t) => {
  const file = join(t.testdir({}), "setup.lock");
  writeFileSync(file, "of a process that was killed");
  utimesSync(file, 0, 0);
  let inside = 0;
  let most = 0;
  const work = async (): Promise<void> => {
    most = Math.max(most, ++inside);
    await new Promise((resolve) => setTimeout(resolve, 5));
    inside--;
  };
  await Promise.all(Array.from({ length: 8 }, () => withLock(file, work)));
  t.equal(most, 1);
  t.notOk(existsSync(file), "let go");
});

t.test("the slower of two waiters leaves the fresh lock of the faster one alone", async (t) => {
  const file = join(t.testdir({}), "setup.lock");
  writeFileSync(file, "of a process that was killed");
  utimesSync(file, 0, 0);
  // Another waiter is taking over: this one must wait, though it too sees an abandoned lock.
  writeFileSync(`${file}.takeover`, "of the faster one");
  let waits = 0;
  const done = withLock(
    file,
    async () => "done",
    () => waits++,
  );
  await new Promise((resolve) => setTimeout(resolve, 20));
  t.equal(waits, 1);
  t.ok(existsSync(file), "the abandoned lock was not removed twice");
  rmSync(`${file}.takeover`);
  t.equal(await done, "done");
  writeFileSync(file, "");
  utimesSync(file, 0, 0);
  writeFileSync(`${file}.takeover`, "");
  utimesSync(`${file}.takeover`, 0, 0);
  await t.rejects(
    withLock(file, async () => undefined),
    { name: "SetupError", message: /was left by a process/ },
  );
});

t.test("a command that fails tells its end and the advice", async (t) => {
  const { code, output } = await capture([process.execPath, "-e", "console.log('said'); process.exit(3)"]);
  t.equal(code, 3);
  t.equal(output, "said\n");
  t.match((await capture(["no-such-program-anywhere"])).code, /ENOENT/);
  const failing = runCommand([process.execPath, "-e", "console.error('why it failed'); process.exit(1)"], {
    log: "test",
    advice: "do this",
  });
  await t.rejects(failing, { name: "SetupError", advice: "do this", message: /why it failed/ });
});

t.test("parts are told with their time, and idle ones are not", async (t) => {
  const { stream, text } = recorder();
  const report = new Report({ stream });
  t.equal(
    await report.part("busy", async (say) => {
      say("working");
      return { result: "worked", value: 7 };
    }),
    7,
  );
  await report.part("idle", async () => ({ result: "nothing to do" }));
  t.match(text(), /^ {2}busy +working \.\.\.\n✓ busy +worked \(0\.\d\d s\)\n$/);
  t.strictSame([0.012, 3.21, 59.6, 61, 125].map(formatSeconds), ["0.01 s", "3.2 s", "60 s", "61 s", "2 min 05 s"]);
});

t.test("what a part notes stays on a terminal, where what it does is drawn over", async (t) => {
  const { stream, text } = recorder(true);
  await new Report({ stream }).part("part", async (say, note) => {
    say("looking");
    note("passing over a folder: it is empty");
    return { result: "found" };
  });
  // What a terminal shows in the end: each "\\r\\x1b[K" empties the line.
  const shown = text()
    .split("\n")
    .map((line) => line.split("\r\x1b[K").at(-1));
  t.match(shown, ["  part         passing over a folder: it is empty", /part +found/, ""]);
});

t.test("off a terminal the progress bar prints a line each tenth", (t) => {
  const { stream, text } = recorder();
  const bar = new ProgressBar(stream, 50);
  for (let step = 1; step <= 50; step++) bar.update(step);
  bar.clear();
  const lines = text().trimEnd().split("\n");
  t.equal(lines.length, 10);
  t.match(lines[4], /▕█{16} {16}▏ 25\/50, .* left/);
  t.match(lines[9], /▕█{32}▏ 50\/50$/);
  t.end();
});

t.test("ratios are medians of pairs, not of two columns", (t) => {
  t.equal(median([3, 1, 2]), 2);
  t.equal(median([4, 1, 2, 3]), 2.5);
  // A machine that slows threefold in the third round: the pairs do not notice.
  const taking = [
    { name: "diffusers", rival: false },
    { name: "default", rival: false },
    { name: "late", rival: true },
  ] as unknown as Parameters<typeof rowsOf>[2];
  const rounds: Record<string, number>[] = [
    { diffusers: 10, default: 5 },
    { diffusers: 12, default: 6 },
    { diffusers: 30, default: 15, late: 20 },
  ];
  t.match(rowsOf("step", "ms", taking, rounds), [
    { name: "diffusers", value: 12, ratio: 1, toOurs: 2, samples: 3 },
    { name: "default", value: 6, ratio: 0.5, toOurs: 1 },
    { name: "late", value: 20, ratio: 2 / 3, samples: 1 },
  ]);
  t.end();
});
