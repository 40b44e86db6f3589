import { existsSync, readFileSync } from "node:fs";
import { dirname, isAbsolute, join, resolve } from "node:path";
import { explainUnfitHost, type Host, thisHost } from "./host.js";

/** Where the package stands: the folder of package.json, from `lib/` and from `dist/` alike. */
export const PACKAGE_ROOT = resolve(__dirname, "..", "..");

/** The name of this platform in the names of packages, such as `linux-x64`. */
export const PLATFORM = `${process.platform}-${process.arch}`;

/** Each name is written out: bundlers and tracers of dependencies only follow literals. */
const PACKAGES: Readonly<Record<string, { readonly addon: () => string; readonly libTorch: () => string }>> = {
  "linux-x64": {
    addon: () => require.resolve("@latent-diffusion/linux-x64/package.json"),
    libTorch: () => require.resolve("@latent-diffusion/libtorch-linux-x64/package.json"),
  },
  "linux-arm64": {
    addon: () => require.resolve("@latent-diffusion/linux-arm64/package.json"),
    libTorch: () => require.resolve("@latent-diffusion/libtorch-linux-arm64/package.json"),
  },
  "darwin-arm64": {
    addon: () => require.resolve("@latent-diffusion/darwin-arm64/package.json"),
    libTorch: () => require.resolve("@latent-diffusion/libtorch-darwin-arm64/package.json"),
  },
  "win32-x64": {
    addon: () => require.resolve("@latent-diffusion/win32-x64/package.json"),
    libTorch: () => require.resolve("@latent-diffusion/libtorch-win32-x64/package.json"),
  },
};

/**
 * Find an installed package of prebuilt binaries.
 * @param kind the addon with its loader, or LibTorch
 * @param platform default: this one
 * @returns its folder; undefined if it is not installed
 */
export function findBinaryPackage(kind: "addon" | "libTorch", platform = PLATFORM): string | undefined {
  try {
    const manifest = PACKAGES[platform]?.[kind]();
    // webpack replaces the call by a module's number.
    return typeof manifest === "string" && isAbsolute(manifest) ? dirname(manifest) : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Explain why a package of prebuilt binaries is not there.
 * @param kind the addon with its loader, or LibTorch
 * @param host default: this machine
 * @returns the cause and the command that mends it
 */
export function explainMissingPackage(kind: "addon" | "libTorch", host: Host = thisHost()): string {
  const { platform } = host;
  const wanted = `@latent-diffusion/${kind === "addon" ? "" : "libtorch-"}${platform}`;
  const known = Object.keys(PACKAGES);
  if (isBundled()) {
    return (
      `latent-diffusion was bundled into ${__dirname}, and a bundle cannot hold ${wanted}. Mark latent-diffusion as external in the bundler's ` +
      "configuration (docs/install.md shows how), and install it where the bundle runs: `npm install latent-diffusion`"
    );
  }
  if (!known.includes(platform)) {
    return `There are no prebuilt binaries for ${platform}, only for ${known.join(", ")}. Build from source: clone the repository and run \`npm run setup\``;
  }
  const unfit = explainUnfitHost(host);
  if (unfit !== undefined) return `${wanted} cannot run here. ${unfit}`;
  const other = known.find((candidate) => findBinaryPackage(kind, candidate) !== undefined);
  if (other !== undefined) {
    return (
      `node_modules holds the binaries for ${other} and was copied to ${platform}. Install on the machine (or in the image) where it runs: ` +
      "`rm -rf node_modules && npm ci`"
    );
  }
  if (lockFileLacks(wanted)) {
    return `package-lock.json was written on another platform and does not name ${wanted}. Write it anew: \`rm -rf node_modules package-lock.json && npm install\``;
  }
  return `${wanted} is not installed; npm leaves it out with --omit=optional or --no-optional. Install it: \`npm install --include=optional latent-diffusion\``;
}

/**
 * The LibTorch that published binaries are built against; another minor version has another binary interface.
 * @returns such as `"2.13.0"`, from `package.json`; `"unknown"` in a bundle, which has no such file
 */
export function publishedVersion(): string {
  return readManifest()?.config?.libtorch ?? "unknown";
}

/** This package's version; `"unknown"` in a bundle. */
export function version(): string {
  return readManifest()?.version ?? "unknown";
}

function readManifest():
  { readonly name?: unknown; readonly version?: string; readonly config?: { readonly libtorch?: string } } | undefined {
  try {
    return JSON.parse(readFileSync(join(PACKAGE_ROOT, "package.json"), "utf8")) as ReturnType<typeof readManifest>;
  } catch {
    return undefined;
  }
}

/** A bundle's files do not stand in this package's folder. */
function isBundled(): boolean {
  return readManifest()?.name !== "latent-diffusion";
}

function lockFileLacks(name: string): boolean {
  // PACKAGE_ROOT is <project>/node_modules/latent-diffusion.
  const lockFile = resolve(PACKAGE_ROOT, "..", "..", "package-lock.json");
  if (!existsSync(lockFile)) return false;
  const text = readFileSync(lockFile, "utf8");
  return text.includes('"node_modules/latent-diffusion"') && !text.includes(`"node_modules/${name}"`);
}
