import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { runCommand, SetupError } from "../setup/command.mjs";
import { npmCommand } from "../setup/dependencies.mjs";
import { inProject } from "../setup/paths.mjs";

/** Where tarballs go if nobody says otherwise. */
export const packageFolder = inProject(".local/packages");
const stageFolder = inProject(".local/stage");

/** @type {Record<string, { os: string, cpu: string, libc?: string, name: string, libraries?: string[] }>} */
export const platforms = readJson("npm/platforms.json");
/**
 * The root's version, which the addon and demo packages share.
 * @type {string}
 */
export const version = readJson("package.json").version;
/**
 * LibTorch packages have a version of their own, so that a release does not download them again.
 * @type {string}
 */
export const libTorchVersion = readJson("npm/libtorch/package.json").version;

/**
 * Name the platform that runs this, as the packages are named.
 * @returns {string} such as `"linux-x64"`
 * @throws {SetupError} if there is no package for it
 */
export function currentPlatform() {
  const name = `${process.platform}-${process.arch}`;
  if (name in platforms) return name;
  throw new SetupError(
    `There is no package for ${name}`,
    `Packages exist for ${Object.keys(platforms).join(", ")}; npm/platforms.json lists them.`,
  );
}

/**
 * List every package that the root names under `optionalDependencies`.
 * @returns {Record<string, string>} name to exact version
 */
export function binaryPackages() {
  const names = Object.keys(platforms);
  return Object.fromEntries([
    ...names.map((platform) => [`@latent-diffusion/${platform}`, version]),
    ...names.map((platform) => [`@latent-diffusion/libtorch-${platform}`, libTorchVersion]),
  ]);
}

/**
 * Read a template of npm/ for one platform.
 * @param {string} path such as `"npm/addon/package.json"`
 * @param {string} platform
 * @returns {string} the text with `<platform>` and `<name>` replaced
 */
export function readTemplate(path, platform) {
  const values = { platform, name: platforms[platform].name };
  return readFileSync(inProject(path), "utf8").replaceAll(
    /(?:<|&lt;)(platform|name)(?:>|&gt;)/g,
    (_, key) => values[key],
  );
}

/**
 * Make an empty folder in which a package is put together.
 * @param {string} name
 * @returns {string} its path
 */
export function makeStage(name) {
  const folder = join(stageFolder, name);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  return folder;
}

/**
 * Write a staged package's package.json.
 * @param {string} stage
 * @param {object} manifest
 */
export function writeManifest(stage, manifest) {
  // npm accepts provenance only if the package names the repository that built it.
  const { GITHUB_SERVER_URL: server, GITHUB_REPOSITORY: repository } = process.env;
  const origin = server && repository ? { repository: { type: "git", url: `git+${server}/${repository}.git` } } : {};
  writeFileSync(join(stage, "package.json"), `${JSON.stringify({ ...manifest, ...origin }, null, 2)}\n`);
}

/**
 * Make a tarball of a staged package, and remove the stage.
 * @param {string} stage
 * @param {string} out the folder for tarballs
 * @returns {Promise<string>} the tarball's path
 */
export async function makeTarball(stage, out) {
  mkdirSync(out, { recursive: true });
  const output = await runCommand(
    [...npmCommand(), "pack", stage, "--ignore-scripts", "--json", "--pack-destination", out],
    { log: `pack-${basename(stage)}`, advice: "See the messages above." },
  );
  const [{ filename }] = parsePackReport(output);
  rmSync(stage, { recursive: true, force: true });
  return join(out, filename);
}

/**
 * Read what `npm pack --json` printed.
 * @param {string} output warnings may stand before it
 * @returns {{ filename: string, files: { path: string }[] }[]}
 */
export function parsePackReport(output) {
  const report = JSON.parse(output.slice(output.search(/^[[{]/m)));
  // npm 11 prints an array; later versions print an object with the packages' names as keys.
  return Array.isArray(report) ? report : Object.values(report);
}

function readJson(path) {
  return JSON.parse(readFileSync(inProject(path), "utf8"));
}
