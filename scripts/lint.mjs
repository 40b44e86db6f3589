// `npm run lint`: ESLint, Prettier, the directions of imports, clang-format, clang-tidy. `npm run lint -- --fix` mends what can be mended;
// `npm run lint -- --no-tidy` leaves out clang-tidy, which takes a minute or two.
import { readdirSync } from "node:fs";
import { availableParallelism } from "node:os";
import { createRequire } from "node:module";
import { dirname, join, relative } from "node:path";
import { checkApiReport } from "./api-report.mjs";
import { checkHouse } from "./check-house.mjs";
import { runMain, setup } from "./setup.mjs";
import { capture } from "./setup/command.mjs";
import { inProject, projectRoot } from "./setup/paths.mjs";
import { ensureLintTools } from "./setup/lint-tools.mjs";
import { Report } from "./setup/report.mjs";

const fix = process.argv.includes("--fix");
const withTidy = !process.argv.includes("--no-tidy");

await runMain(async () => {
  const report = new Report();
  // clang-tidy reads build/compile_commands.json.
  await setup({ report });
  const tools = await report.part("lint tools", ensureLintTools);
  const sources = readdirSync(inProject("native"), { recursive: true, encoding: "utf8" })
    .filter((name) => /\.(cc|h)$/.test(name))
    .sort();
  const complaints = [
    ...(await check(report, "ESLint", runEslint)),
    ...(await check(report, "Prettier", runPrettier)),
    ...(await check(report, "API report", checkApiReport)),
    ...(await check(report, "rooms of lib", runDependencyCruiser)),
    ...(await check(report, "house", async () => checkHouse())),
    ...(await check(report, "clang-format", () => runFormat(tools.format, sources))),
    ...(withTidy ? await check(report, "clang-tidy", () => runTidy(tools.tidy, sources)) : []),
  ];
  for (const complaint of complaints) report.write(complaint);
  return complaints.length === 0 ? 0 : 1;
});

/** @returns {Promise<string[]>} what a check complains of */
function check(report, name, work) {
  return report.part(name, async (say) => {
    say("checking");
    const value = await work();
    const failed = value.length > 0;
    return { result: failed ? "complaints, see below" : "clean", value, failed };
  });
}

async function runEslint() {
  const bin = join(dirname(createRequire(import.meta.url).resolve("eslint/package.json")), "bin/eslint.js");
  const { code, output } = await capture([process.execPath, bin, ".", "--max-warnings=0", ...(fix ? ["--fix"] : [])]);
  return code === 0 ? [] : [output];
}

async function runDependencyCruiser() {
  const bin = inProject("node_modules/dependency-cruiser/bin/dependency-cruise.mjs");
  const { code, output } = await capture([
    process.execPath,
    bin,
    "--config",
    inProject(".dependency-cruiser.mjs"),
    "lib",
  ]);
  return code === 0 ? [] : [output];
}

async function runPrettier() {
  const bin = join(dirname(createRequire(import.meta.url).resolve("prettier/package.json")), "bin/prettier.cjs");
  const { code, output } = await capture([process.execPath, bin, fix ? "--write" : "--check", "--log-level=warn", "."]);
  return code === 0 ? [] : [output, "`npm run lint -- --fix` formats the TypeScript and JavaScript files."];
}

async function runFormat(program, sources) {
  const files = sources.map((name) => join("native", name));
  const { code, output } = await capture([program, ...(fix ? ["-i"] : ["--dry-run", "--Werror"]), ...files]);
  return code === 0 ? [] : [output, "`npm run lint -- --fix` formats the C++ files."];
}

/** One process a file, as many at a time as there are cores. */
async function runTidy(program, sources) {
  const waiting = sources.filter((name) => name.endsWith(".cc"));
  const complaints = [];
  const work = async () => {
    for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) {
      // Clang's package comes without the header of OpenMP, which only at::parallel_for's own file includes.
      const command = [
        program,
        "-p",
        inProject("build"),
        "--extra-arg=-fno-openmp",
        "--quiet",
        inProject(`native/${name}`),
      ];
      const { code, stdout } = await capture(command);
      if (code !== 0)
        complaints.push(
          stdout.replaceAll(`${projectRoot}/`, "") || `clang-tidy ended with ${code} on ${relative(projectRoot, name)}`,
        );
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, work));
  return complaints;
}
