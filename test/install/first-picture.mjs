import { existsSync, lstatSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { capture } from "../../scripts/setup/command.mjs";
import { inProject } from "../../scripts/setup/paths.mjs";
import { npmProgram } from "./tools.mjs";

const PICTURE = /^picture ([0-9a-f]{64})$/m;

/**
 * Go the way of the README, from an empty folder with empty caches: install, make a picture by a program, and by the command line.
 * @param {import("./sandbox.mjs").Sandbox} sandbox
 * @returns {Promise<{ picture: string, installing: number, downloaded: number, installed: number, program: number, commandLine?: number }>}
 *   times in seconds, sizes in bytes
 */
export async function makeFirstPicture(sandbox) {
  await checkHidden(sandbox);
  const npm = [sandbox.node, npmProgram("npm")];
  const { seconds: installing } = await sandbox.run([
    ...npm,
    ...["install", "--ignore-scripts", "latent-diffusion", "@latent-diffusion/demo"],
  ]);
  // What npm fetched is what its cache, empty before, holds now.
  const downloaded = sizeOf(join(sandbox.folder, "npm-cache", "_cacache", "content-v2"));
  sandbox.copyProject("plain");
  const { output, seconds: program } = await sandbox.run([sandbox.node, "main.mjs"]);
  checkPng(join(sandbox.project, "face.png"));
  const picture = readPicture(output);
  const installed = sizeOf(join(sandbox.project, "node_modules"));
  const commandLine = await runCommandLine(sandbox);
  return { picture, installing, downloaded, installed, program, commandLine };
}

/** @returns {Promise<number | undefined>} seconds; undefined as long as the package has no command */
async function runCommandLine(sandbox) {
  const manifest = readFileSync(join(sandbox.project, "node_modules/latent-diffusion/package.json"), "utf8");
  if (JSON.parse(manifest).bin === undefined) return undefined;
  const npx = [sandbox.node, npmProgram("npx"), "--no-install", "latent-diffusion"];
  const { seconds } = await sandbox.run([...npx, "generate", "--out", "faces.png"]);
  checkPng(join(sandbox.project, "faces.png"));
  return seconds;
}

/**
 * Make the same picture from this checkout's own build, which no package took part in.
 * @returns {Promise<string>} hexadecimal SHA-256 of its pixels
 */
export async function pictureOfCheckout() {
  const program = `
    const { Generator, LDMPipeline } = require(${JSON.stringify(inProject("dist/index.js"))});
    LDMPipeline.fromPretrained(${JSON.stringify(inProject("models/demo"))})
      .then((pipe) => pipe.generate({ numInferenceSteps: 4, generator: Generator.fromSeed(0) }))
      .then(({ images }) => console.log("picture " + require("node:crypto").createHash("sha256").update(images[0].data).digest("hex")));
  `;
  const { output } = await capture([process.execPath, "-e", program]);
  return readPicture(output);
}

/**
 * Read which picture a program has made.
 * @param {string} output
 * @returns {string} hexadecimal SHA-256 of its pixels
 * @throws {Error} if it made none
 */
export function readPicture(output) {
  const found = PICTURE.exec(output)?.[1];
  if (found) return found;
  throw new Error(`Expected a line "picture <sha256>" but received:\n${output.slice(-2000)}`);
}

/** @throws {Error} if a Python or a compiler is found: then the packages might build what they should bring */
async function checkHidden(sandbox) {
  if (process.platform === "win32") return;
  for (const name of ["python3", "python", "cc", "gcc", "c++", "clang", "cmake", "make"]) {
    const search = `command -v ${name} && exit 1; exit 0`;
    await sandbox.run(["sh", "-c", search]);
  }
}

function checkPng(file) {
  const signature = existsSync(file) ? readFileSync(file).subarray(0, 8).toString("latin1") : "no file";
  if (signature !== "\x89PNG\r\n\x1a\n") throw new Error(`Expected a PNG at ${file} but received ${signature}`);
}

/**
 * Add up the files of a folder.
 * @param {string} folder
 * @returns {number} bytes
 */
export function sizeOf(folder) {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .reduce((sum, entry) => sum + lstatSync(join(entry.parentPath, entry.name)).size, 0);
}
