import { fileURLToPath } from "node:url";

/** The project's folder, without a slash at the end. */
export const projectRoot = fileURLToPath(new URL("../../", import.meta.url)).replace(/[\\/]$/, "");

/**
 * A path inside the project.
 * @param {string} path relative, with slashes
 */
export function inProject(path) {
  return fileURLToPath(new URL(`../../${path}`, import.meta.url));
}

/** What setup downloads and writes for itself; ignored by git, safe to delete. */
export const localFolder = inProject(".local");
export const setupLock = inProject(".local/setup.lock");
export const logFolder = inProject(".local/logs");
export const privateLibTorchFolder = inProject(".local/libtorch");
export const referenceFolder = inProject(".local/reference");

/** What `lib/native/libtorch.ts` reads at run time: `{ path, version, source }`. */
export const libTorchRecord = inProject("build/libtorch.json");
export const addonFile = inProject("build/Release/latent_diffusion.node");
