import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import t from "tap";
import { runCommandLine } from "../../lib/cli/run.js";
import { Terminal } from "../../lib/cli/terminal.js";

const DEMO = join(__dirname, "..", "..", "models", "demo");

interface Outcome {
  readonly exitCode: number;
  readonly stdout: Buffer;
  readonly stderr: string;
}

/** Run a command line in this process; `onNote` sees each line of standard error as it comes. */
async function run(args: readonly string[], onNote?: (line: string, stop: () => void) => void): Promise<Outcome> {
  const controller = new AbortController();
  const stdout: Buffer[] = [];
  let stderr = "";
  const terminal = new Terminal({
    env: {},
    stdout: {
      write(chunk, done) {
        stdout.push(Buffer.from(chunk));
        done?.();
        return true;
      },
    },
    stderr: {
      write(chunk) {
        stderr += String(chunk);
        onNote?.(String(chunk), () => controller.abort());
        return true;
      },
    },
  });
  const exitCode = await runCommandLine(args, terminal, controller.signal);
  return { exitCode, stdout: Buffer.concat(stdout), stderr };
}

const pixelsOf = (file: string): Promise<Buffer> => sharp(file).raw().toBuffer();

t.test("a file each, and one of them made again from what it says", async (t) => {
  const folder = t.testdir();
  const made = await run([
    "generate",
    "--model",
    DEMO,
    "-n",
    "3",
    "--batch",
    "2",
    "--steps",
    "2",
    "-o",
    join(folder, "f.png"),
    "--json",
  ]);
  t.equal(made.exitCode, 0, made.stderr);
  const { files } = JSON.parse(made.stdout.toString()) as { files: { path: string; seed: number }[] };
  t.strictSame(
    files.map(({ path, seed }) => [path, seed]),
    [1, 2, 3].map((i) => [join(folder, `f-${i}.png`), i - 1]),
  );
  const again = await run(["generate", "--again", join(folder, "f-2.png"), "-o", join(folder, "again.png")]);
  t.equal(again.exitCode, 0, again.stderr);
  t.ok((await pixelsOf(join(folder, "again.png"))).equals(await pixelsOf(join(folder, "f-2.png"))), "every pixel");
  t.notOk((await pixelsOf(join(folder, "again.png"))).equals(await pixelsOf(join(folder, "f-1.png"))));
  const twice = await run(["generate", "--again", join(folder, "again.png"), "-o", join(folder, "twice.png")]);
  t.equal(twice.exitCode, 0, twice.stderr);
  t.ok((await pixelsOf(join(folder, "twice.png"))).equals(await pixelsOf(join(folder, "f-2.png"))), "and once more");
});

t.test("an interrupt keeps what is finished, also as a grid that can be made again", async (t) => {
  const folder = t.testdir();
  const common = ["generate", "--model", DEMO, "-n", "4", "--batch", "1", "--steps", "10"];
  const interrupt = (line: string, stop: () => void): void => {
    if (line.includes("picture 3 of 4")) stop();
  };
  const each = await run([...common, "-o", join(folder, "f.png")], interrupt);
  t.equal(each.exitCode, 130, each.stderr);
  t.strictSame(readdirSync(folder).sort(), ["f-1.png", "f-2.png"]);
  t.equal(each.stdout.toString(), ["f-1.png", "f-2.png"].map((name) => `${join(folder, name)}\n`).join(""));
  const grid = join(folder, "grid.png");
  t.equal((await run([...common, "--grid", "-o", grid], interrupt)).exitCode, 130);
  t.equal((await sharp(grid).metadata()).width, 2 * 64 + 2);
  t.equal((await run(["generate", "--again", grid, "-o", join(folder, "same.png")])).exitCode, 0);
  t.ok((await pixelsOf(join(folder, "same.png"))).equals(await pixelsOf(grid)));
});

t.test("--out - is a PNG and nothing else on standard output", async (t) => {
  const { exitCode, stdout, stderr } = await run(["generate", "--model", DEMO, "--steps", "1", "--out", "-"]);
  t.equal(exitCode, 0, stderr);
  t.match(await sharp(stdout).metadata(), { format: "png", width: 64, height: 64 });
});

t.test("mistakes: the message, the code, what to do, and the exit code", async (t) => {
  const folder = t.testdir({
    "text.png": "no picture",
    pair: { "unet.pt": "", "vq_decoder.pt": "", "config.json": '{ "in_channels": 3 }', "scheduler_config.json": "{}" },
  });
  const cases: [string[], number, RegExp][] = [
    [
      ["generat"],
      2,
      /Unknown command generat .*did you mean "generate"\?.*\(ERR_USAGE\)\nSee `latent-diffusion --help`/,
    ],
    [["generate", "--step", "3"], 2, /did you mean "--steps"\?.*\nSee `latent-diffusion generate --help`/],
    [["generate", "--out", "face.jpg"], 2, /ends in \.png/],
    [["generate", "--out", "-", "-n", "2"], 2, /one picture for --out -/],
    [["generate", "--size", "big"], 2, /for --size but received "big"/],
    [["generate", "--scheduler", "ddin"], 2, /Unknown scheduler "ddin"; did you mean "ddim"\?/],
    [["generate", "--again", join(folder, "text.png")], 1, /does not say how it was made \(ERR_NO_RECIPE\)/],
    [["generate", "--model", join(folder, "pair"), "-o", join(folder, "x.png")], 1, /UNTRUSTED\)\n.*add `--trusted`/],
    [
      ["generate", "--model", join(folder, "pair", "unet.pt"), "-o", join(folder, "x.png")],
      1,
      /ERR_TORCHSCRIPT_UNTRUSTED/,
    ],
    [["generate", "--again", "x.png", "--seed", "2"], 2, /no --seed beside --again/],
    [["generate", "--again", join(folder, "none.png")], 1, /ERR_IO/],
    [
      ["generate", "--model", join(folder, "none"), "-o", join(folder, "x.png")],
      1,
      /ERR_CHECKPOINT_NOT_FOUND\)\n`--model` takes/,
    ],
    [
      ["generate", "--model", DEMO, "--size", "63", "-o", join(folder, "x.png")],
      2,
      /multiple of .*ERR_INVALID_ARGUMENT/,
    ],
  ];
  for (const [args, exitCode, message] of cases) {
    const outcome = await run(args);
    t.equal(outcome.exitCode, exitCode, args.join(" "));
    t.match(outcome.stderr, message);
    t.notMatch(outcome.stderr, /^ +at /m, "no stack");
    t.equal(outcome.stdout.length, 0);
  }
  t.notOk(existsSync(join(folder, "x.png")));
  t.match((await run(["generate", "--out", "a.jpg", "--debug"])).stderr, /^ +at /m, "--debug shows it");
});

t.test("doctor finds that networks run here, and reports as JSON", async (t) => {
  const { exitCode, stdout, stderr } = await run(["doctor", "--here", "--json"]);
  t.equal(exitCode, 0, stderr);
  t.match(JSON.parse(stdout.toString()), {
    version: /^\d+\.\d+\.\d+/,
    system: { platform: new RegExp(`^${process.platform}-`), cpu: { model: String, cores: Number } },
    candidates: [{ source: /configure/, verdict: "not set", chosen: false }],
    libTorch: { builtWith: /^2\./ },
    selfTest: { passed: true, tolerance: 2 },
  });
  t.match((await run(["doctor", "--here"])).stdout.toString(), /^self-test +ok /m);
});
