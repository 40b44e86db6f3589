import { chmodSync, existsSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { runCommand } from "./command.mjs";
import { fingerprint, isFresh, remember } from "./fingerprint.mjs";
import { inProject } from "./paths.mjs";

const require = createRequire(import.meta.url);

/**
 * Compile lib/ to dist/ and write the ESM face beside it, unless dist/ was made from these sources.
 * @param {(doing: string) => void} say
 * @param {{ force?: boolean }} [options]
 * @returns {Promise<{ result: string }>}
 */
export async function ensureTypeScript(say, { force = false } = {}) {
  const hash = fingerprint(
    ["lib", "tsconfig.json", "scripts/setup/typescript.mjs"],
    [require("typescript/package.json").version],
  );
  if (!force && existsSync(inProject("dist/index.mjs")) && isFresh("typescript", hash))
    return { result: "compiled already" };
  say("compiling the TypeScript");
  rmSync(inProject("dist"), { recursive: true, force: true });
  await runCommand([process.execPath, require.resolve("typescript/bin/tsc"), "-p", "."], {
    log: "typescript",
    advice: "The sources of lib/ do not compile: see the messages above.",
  });
  writeModuleFace();
  // npm does so when it installs; here `dist/cli/main.js` is to run as it is.
  chmodSync(inProject("dist/cli/main.js"), 0o755);
  remember("typescript", hash);
  return { result: "TypeScript compiled" };
}

/**
 * Write dist/index.mjs, which hands on what the CommonJS build exports, so that both worlds share one addon and one `instanceof`. The names
 * are read from the build itself, which opens neither LibTorch nor the addon by being loaded. It is loaded by `createRequire`: Vite takes a
 * package that is linked, so outside node_modules, for source, and an `import` of its CommonJS would give names without values.
 */
function writeModuleFace() {
  const names = Object.keys(require(inProject("dist/index.js"))).sort();
  writeFileSync(
    inProject("dist/index.mjs"),
    `${MODULE_FACE}\nexport const {\n${names.map((name) => `  ${name},\n`).join("")}} = load();\n`,
  );
  writeFileSync(inProject("dist/index.d.mts"), 'export * from "./index.js";\n');
}

/** Bundlers do not follow `createRequire`, so a bundle that swallowed this file lacks the rest. */
const MODULE_FACE = `import { createRequire } from "node:module";

function load() {
  try {
    return createRequire(import.meta.url)("./index.js");
  } catch (error) {
    if (error.code !== "MODULE_NOT_FOUND" || !error.message.includes("./index.js")) throw error;
    throw new Error(
      "latent-diffusion was bundled into " + import.meta.url + ", and a bundle cannot hold its binaries. Mark latent-diffusion as " +
        "external in the bundler's configuration (docs/install.md shows how), and install it where the bundle runs: " +
        "\`npm install latent-diffusion\`",
      { cause: error },
    );
  }
}
`;
