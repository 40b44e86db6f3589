// `node scripts/check-cuda-wheel.mjs [--from <folder>] [--url <index>]`: installs LibTorch's CUDA build into .local/ as `latent-diffusion install
// cuda` does (2.5 GB to download, 3.8 GB on the disk), and shows that it opens with the same addon binary as the CPU build. Without a GPU, what
// asks for one must be refused with ERR_DEVICE_UNAVAILABLE. Outside `npm test`: it needs the wheels. `--keep` leaves them for the next run.
// `--table <folder>`: prints the rows of lib/cli/cuda/wheels.ts from a folder of wheels.
import { createHash } from "node:crypto";
import { createReadStream, readdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { runMain, setup } from "./setup.mjs";
import { capture, SetupError } from "./setup/command.mjs";
import { inProject } from "./setup/paths.mjs";
import { Report } from "./setup/report.mjs";

const cache = inProject(".local/cuda-wheel");

/** Runs in a process of its own: one process opens one LibTorch. */
const PROGRAM = `
  const { join } = require("node:path");
  const { configure, runtimeInfo, Tensor } = require(join(process.argv[1], "index.js"));
  const { runSelfTest } = require(join(process.argv[1], "cli/self-test.js"));
  configure({ libtorch: process.argv[2] });
  const { builtWith, devices, libtorch } = runtimeInfo();
  const report = (found) => console.log(JSON.stringify({ builtWith, devices, ...libtorch, ...found }));
  runSelfTest().then(async ({ passed }) => {
    const moved = Tensor.from(new Float32Array([1, 2]), [2]).to("cuda");
    report({ passed, refused: await moved.then(() => null, ({ code, message }) => ({ code, message })) });
  });
`;

await runMain(async () => {
  const text = { type: "string" };
  const { values } = parseArgs({
    options: { from: text, url: text, table: text, keep: { type: "boolean", default: false } },
  });
  if (values.table !== undefined) return printTable(values.table);
  const report = new Report({ verbose: true });
  await setup({ report });
  try {
    const path = await report.part("install cuda", (say) => install(values, say));
    await report.part("open", () => check(path));
    return 0;
  } finally {
    if (!values.keep) rmSync(cache, { recursive: true, force: true });
  }
});

async function install({ from, url }, say) {
  say("downloading, checking and unpacking");
  const given = [...(from ? ["--from", from] : []), ...(url ? ["--url", url] : [])];
  const command = [process.execPath, inProject("dist/cli/main.js"), "install", "cuda", "--json", ...given];
  const { code, stdout, output } = await capture(command, { env: { ...process.env, LATENT_DIFFUSION_CACHE: cache } });
  // With a driver, the trial on the GPU must pass as well; without one it is not made.
  if (code !== 0)
    throw new SetupError(`install cuda failed (${code}): ${output.slice(-2000)}`, "See the message above.");
  const { path, verdict } = JSON.parse(stdout);
  return { result: verdict === null ? `${path}; no driver here` : `${path}; ${verdict.reason}`, value: path };
}

async function check(path) {
  const { code, stdout, output } = await capture([process.execPath, "-e", PROGRAM, inProject("dist"), path]);
  const found = code === 0 ? JSON.parse(stdout.trimEnd().split("\n").at(-1)) : undefined;
  const { cuda, passed, devices, refused } = found ?? {};
  const isRight = cuda === true && passed === true;
  const isRefused = devices?.length === 1 && refused?.code === "ERR_DEVICE_UNAVAILABLE";
  if (!isRight || (!isRefused && refused !== null))
    throw new SetupError(
      `The CUDA build does not work with this addon:\n${output.slice(-2000)}`,
      "See the message above.",
    );
  const said = refused === null ? `runs on ${devices.join(", ")}` : `${refused.code}: ${refused.message}`;
  return {
    result: `LibTorch ${found.version} opens with the addon for ${found.builtWith}, the self-test passes; ${said}`,
  };
}

async function printTable(folder) {
  for (const file of readdirSync(folder).filter((name) => name.endsWith(".whl"))) {
    const [project, version] = file.split("-").map((part) => part.replaceAll("_", "-"));
    const hash = createHash("sha256");
    for await (const piece of createReadStream(join(folder, file))) hash.update(piece);
    const bytes = statSync(join(folder, file)).size;
    console.log(`${JSON.stringify({ project, version, file, bytes, sha256: hash.digest("hex") })},`);
  }
  return 0;
}
