import { cpSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { runCommand } from "../setup/command.mjs";
import { npmCommand } from "../setup/dependencies.mjs";
import { inProject } from "../setup/paths.mjs";
import { binaryPackages, makeStage, makeTarball, parsePackReport, writeManifest } from "./packages.mjs";

/**
 * Pack `latent-diffusion`: JavaScript, types, documents.
 * @param {string} out the folder for tarballs
 * @returns {Promise<string>} the tarball's path
 */
export async function packRoot(out) {
  const listing = await runCommand([...npmCommand(), "pack", "--dry-run", "--ignore-scripts", "--json"], {
    log: "pack-list",
    advice: "See the messages above.",
  });
  const stage = makeStage("latent-diffusion");
  const [{ files }] = parsePackReport(listing);
  for (const { path } of files) cpSync(inProject(path), join(stage, path));
  writeManifest(stage, publishedManifest(JSON.parse(readFileSync(inProject("package.json"), "utf8"))));
  return makeTarball(stage, out);
}

/**
 * Turn the checkout's package.json into the published one. `optionalDependencies` are added here and not in the checkout: there the
 * binaries come from a build, and `npm ci` would ask the registry for versions that are published after this very commit.
 * @param {Record<string, unknown>} manifest the checkout's
 * @returns {Record<string, unknown>}
 */
export function publishedManifest(manifest) {
  const { scripts: _scripts, devDependencies: _dev, tap: _tap, gypfile: _gypfile, ...published } = manifest;
  return { ...published, optionalDependencies: binaryPackages() };
}
