import { readdirSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { capture, runCommand, SetupError } from "../setup/command.mjs";
import { npmCommand } from "../setup/dependencies.mjs";
import {
  binaryPackages,
  libTorchVersion,
  makeStage,
  makeTarball,
  platforms,
  version,
  writeManifest,
} from "./packages.mjs";

const ROOT = "latent-diffusion";

/**
 * Publish a folder of tarballs: the binaries first and the root last, since npm skips an optional dependency that is missing without a
 * word. A version that the registry has already is passed over, so that a publication that stopped half-way can go on.
 * @param {string} folder
 * @param {{ registry?: string, token?: string, fresh?: boolean, provenance?: boolean, say?: (doing: string) => void }} [options] `registry`, `token`: default
 *   npm's own settings; `fresh`: the registry has none of them, so do not ask
 * @returns {Promise<string[]>} what was published, as `name@version`
 * @throws {SetupError} before anything is published, if a package that the root needs is neither here nor on the registry
 */
export async function publishAll(folder, { registry, token, fresh = false, provenance = false, say = () => {} } = {}) {
  const at = registry ? ["--registry", registry] : [];
  if (registry && token) at.push(`--//${new URL(registry).host}/:_authToken=${token}`);
  const packages = await readTarballs(folder);
  await checkComplete(packages, at);
  const published = [];
  for (const { id, file, name } of packages.sort((a, b) => Number(a.name === ROOT) - Number(b.name === ROOT))) {
    if (!fresh && (await isPublished(id, at))) continue;
    say(`publishing ${id}`);
    const proof = provenance ? ["--provenance"] : [];
    // A version with a hyphen (2.13.0-r.1) is published only with a tag.
    const options = ["--access", "public", "--tag", "latest", "--ignore-scripts", ...proof, ...at];
    await runCommand([...npmCommand(), "publish", file, ...options], {
      log: `publish-${basename(name)}`,
      advice: "Run the command again: it goes on where it stopped.",
    });
    published.push(id);
  }
  return published;
}

/**
 * Pack the binary packages of all other platforms with their package.json alone, so that a registry for tests has every package that the
 * root names: Yarn and pnpm ask for all of them to write a lock file.
 * @param {string} platform the one that has real packages
 * @param {string} out the folder for tarballs
 */
export async function packStandIns(platform, out) {
  for (const [other, { os, cpu, libc }] of Object.entries(platforms)) {
    if (other === platform) continue;
    for (const [name, packageVersion] of [
      [other, version],
      [`libtorch-${other}`, libTorchVersion],
    ]) {
      const stage = makeStage(`stand-in-${name}`);
      const libcs = libc ? { libc: [libc] } : {};
      writeManifest(stage, {
        name: `@latent-diffusion/${name}`,
        version: packageVersion,
        os: [os],
        cpu: [cpu],
        ...libcs,
      });
      writeFileSync(join(stage, "README.md"), "A stand-in for tests.\n");
      await makeTarball(stage, out);
    }
  }
}

/** @returns {Promise<{ name: string, id: string, file: string }[]>} */
async function readTarballs(folder) {
  const files = readdirSync(folder).filter((name) => name.endsWith(".tgz"));
  return Promise.all(
    files.sort().map(async (fileName) => {
      const file = join(folder, fileName);
      const { stdout } = await capture(["tar", "-xzOf", file, "package/package.json"]);
      const { name, version } = JSON.parse(stdout);
      return { name, id: `${name}@${version}`, file };
    }),
  );
}

async function checkComplete(packages, at) {
  if (!packages.some(({ name }) => name === ROOT)) return;
  const here = new Set(packages.map(({ id }) => id));
  const missing = [];
  for (const [name, packageVersion] of Object.entries(binaryPackages())) {
    const id = `${name}@${packageVersion}`;
    if (!here.has(id) && !(await isPublished(id, at))) missing.push(id);
  }
  if (missing.length === 0) return;
  throw new SetupError(
    `The root package needs what is neither in the folder nor published: ${missing.join(", ")}`,
    "Make the packages of all platforms (the release workflow does), put them into one folder, then publish.",
  );
}

async function isPublished(id, at) {
  const { code, stdout } = await capture([...npmCommand(), "view", id, "version", ...at]);
  return code === 0 && stdout.trim() !== "";
}
