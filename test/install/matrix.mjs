import { cpSync, existsSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { inProject } from "../../scripts/setup/paths.mjs";
import { readPicture } from "./first-picture.mjs";
import { npmProgram, toolFile } from "./tools.mjs";

/**
 * @typedef {object} Case one project, installed once and run in several ways
 * @property {string} project a folder of test/install/projects
 * @property {string} [node] the run time that installs; default: this Node
 * @property {Record<string, string>} [versions] of dependencies, instead of the project's
 * @property {(sandbox: Sandbox) => Promise<unknown>} install
 * @property {readonly Run[]} runs
 */

/**
 * @typedef {object} Run
 * @property {string} name
 * @property {string} [node] the run time, if it is not this Node
 * @property {(sandbox: Sandbox) => Promise<readonly string[]>} run returns the pictures that it saw
 */

/** @typedef {import("./sandbox.mjs").Sandbox} Sandbox */

const installWithNpm = (sandbox) => sandbox.run([sandbox.node, npmProgram("npm"), "install", "--ignore-scripts"]);
const bin = (sandbox, file) => join(sandbox.project, "node_modules", file);

/** Run both programs of the project `plain`. */
async function runPlain(sandbox, command = [sandbox.node], options = {}) {
  const pictures = [];
  for (const file of ["main.mjs", "main.cjs"]) {
    pictures.push(readPicture((await sandbox.run([...command, file], options)).output));
  }
  return pictures;
}

const nodeVersions = {
  project: "plain",
  install: installWithNpm,
  runs: [20, 22, 24, 26].map((major) => {
    const node = toolFile(`node-${major}-linux-x64/bin/node`);
    return { name: `Node ${major}`, node, run: (sandbox) => runPlain(sandbox, [node]) };
  }),
};

const bun = {
  project: "plain",
  node: toolFile("bun-linux-x64/bin/bun"),
  install: (sandbox) => sandbox.run([sandbox.node, "install", "--ignore-scripts"]),
  runs: [{ name: "Bun", run: (sandbox) => runPlain(sandbox) }],
};

// Deno, as Yarn, passes over versions younger than a day, and these are seconds old.
const DENO_OPTIONS = ["--node-modules-dir=auto", "--minimum-dependency-age=0"];

const deno = {
  project: "plain",
  node: toolFile("deno-linux-x64/deno"),
  install: (sandbox) => sandbox.run([sandbox.node, "install", ...DENO_OPTIONS]),
  runs: [
    {
      name: "Deno",
      run: (sandbox) => runPlain(sandbox, [sandbox.node, "run", "--allow-all", ...DENO_OPTIONS]),
    },
  ],
};

const pnpm = {
  project: "plain",
  install: async (sandbox) => {
    const { output } = await sandbox.run([sandbox.node, toolFile("pnpm/bin/pnpm.cjs"), "install"]);
    if (output.includes("Ignored build scripts")) throw new Error(`pnpm found something to build:\n${output}`);
  },
  runs: [{ name: "pnpm", run: (sandbox) => runPlain(sandbox) }],
};

const yarn = ["node-modules", "pnp"].map((linker) => {
  const command = (sandbox) => [sandbox.node, toolFile("@yarnpkg/cli-dist/bin/yarn.js")];
  // Plug'n'Play resolves imports of ESM only if it is told to, or if the project's package.json says "type": "module".
  const options = { env: { YARN_NODE_LINKER: linker, YARN_PNP_ENABLE_ESM_LOADER: "true" } };
  return {
    project: "plain",
    install: (sandbox) => sandbox.run([...command(sandbox), "install"], options),
    runs: [{ name: `Yarn, ${linker}`, run: (sandbox) => runPlain(sandbox, [...command(sandbox), "node"], options) }],
  };
});

const vitest = {
  project: "vitest",
  install: installWithNpm,
  runs: [
    ...["forks", "threads", "vmForks", "vmThreads"].map((pool) => ({
      name: `Vitest, pool ${pool}`,
      run: (sandbox) => runVitest(sandbox, pool),
    })),
    {
      name: "Vitest, linked checkout",
      run: (sandbox) => {
        const installed = bin(sandbox, "latent-diffusion");
        rmSync(installed, { recursive: true });
        symlinkSync(inProject("."), installed, "junction");
        return runVitest(sandbox, "forks");
      },
    },
  ],
};

async function runVitest(sandbox, pool) {
  const { output } = await sandbox.run([sandbox.node, bin(sandbox, "vitest/vitest.mjs"), "run", `--pool=${pool}`]);
  return [readPicture(output)];
}

const jest = ["29.7.0", "30.5.2"].map((version) => ({
  project: "jest",
  versions: { jest: version, "jest-environment-jsdom": version },
  install: installWithNpm,
  runs: ["node", "jsdom"].map((environment) => ({
    name: `Jest ${version}, ${environment}`,
    run: async (sandbox) => {
      const command = [sandbox.node, bin(sandbox, "jest/bin/jest.js"), "--ci", "--runInBand", "--env", environment];
      return [readPicture((await sandbox.run(command)).output)];
    },
  })),
}));

const vite = {
  project: "vite",
  install: installWithNpm,
  runs: [
    {
      name: "Vite, build --ssr",
      run: async (sandbox) => {
        await sandbox.run([sandbox.node, bin(sandbox, "vite/bin/vite.js"), "build", "--ssr", "main.mjs"]);
        const built = ["main.js", "main.mjs"].find((file) => existsSync(join(sandbox.project, "dist", file)));
        return [readPicture((await sandbox.run([sandbox.node, `dist/${built}`])).output)];
      },
    },
  ],
};

const esbuild = {
  project: "esbuild",
  install: installWithNpm,
  runs: [
    {
      name: "esbuild",
      run: async (sandbox) => {
        const command = [sandbox.node, bin(sandbox, "esbuild/bin/esbuild"), "--bundle", "--platform=node"];
        await sandbox.run([
          ...command,
          "main.mjs",
          "--format=esm",
          "--external:latent-diffusion",
          "--outfile=dist/main.mjs",
        ]);
        await sandbox.run([...command, "swallowed.cjs", "--external:sharp", "--outfile=dist/swallowed.cjs"]);
        await expectSwallowed(sandbox, "dist/swallowed.cjs");
        return [readPicture((await sandbox.run([sandbox.node, "dist/main.mjs"])).output)];
      },
    },
  ],
};

const webpack = {
  project: "webpack",
  install: installWithNpm,
  runs: [
    {
      name: "webpack",
      run: async (sandbox) => {
        const command = [sandbox.node, bin(sandbox, "webpack-cli/bin/cli.js"), "--config", "webpack.config.cjs"];
        await sandbox.run([...command, "--config-name", "outside"]);
        // webpack refuses a bundle that would swallow the package, and names the binaries that it cannot take in.
        const { output } = await sandbox.run([...command, "--config-name", "swallowed"], { fails: true });
        if (!output.includes("Can't resolve '@latent-diffusion/")) throw new Error(output.slice(-2000));
        return [readPicture((await sandbox.run([sandbox.node, "dist/main.mjs"])).output)];
      },
    },
  ],
};

/** A bundle that swallowed the package says so where it cannot find the binaries. */
async function expectSwallowed(sandbox, file) {
  // Where no node_modules is above it, as on the machine that a bundle is deployed to.
  const deployed = join(sandbox.folder, "tmp", "swallowed.cjs");
  cpSync(join(sandbox.project, file), deployed);
  const { output } = await sandbox.run([sandbox.node, deployed], { fails: true });
  if (!/was bundled into/.test(output))
    throw new Error(`Expected an error that names the bundler but received:\n${output.slice(-2000)}`);
}

const typeScript = {
  project: "typescript",
  install: installWithNpm,
  runs: ["bundler", "node16", "node10"].map((resolution) => ({
    name: `TypeScript, ${resolution}`,
    run: async (sandbox) => {
      await sandbox.run([sandbox.node, bin(sandbox, "typescript/bin/tsc"), "-p", `tsconfig.${resolution}.json`]);
      return [];
    },
  })),
};

/** @type {readonly Case[]} */
export const matrix = [nodeVersions, bun, deno, pnpm, ...yarn, vitest, ...jest, vite, esbuild, webpack, typeScript];

/**
 * The short cut: one bundler and one test runner.
 * @type {readonly Case[]}
 */
export const quickMatrix = [esbuild, { ...vitest, runs: vitest.runs.slice(0, 1) }];
