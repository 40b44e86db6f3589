import { cpSync, existsSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { inProject } from "../../scripts/setup/paths.mjs";
import { readPicture } from "./first-picture.mjs";
import { npmProgram, toolFile } from "./tools.mjs";

/**
 * @typedef {object} Case
 * @property {string} name
 * @property {string} project a folder of test/install/projects
 * @property {string} [node] the Node to run; default: this one
 * @property {Record<string, string>} [versions] of dependencies, instead of the project's
 * @property {(sandbox: import("./sandbox.mjs").Sandbox) => Promise<readonly string[]>} work installs, runs, and returns the pictures that it saw
 */

const npm = (sandbox, ...args) => sandbox.run([sandbox.node, npmProgram("npm"), ...args]);
const installWithNpm = (sandbox) => npm(sandbox, "install", "--ignore-scripts");

/** Run both programs of the project `plain`. */
async function runPlain(sandbox, command = [sandbox.node], options = {}) {
  const pictures = [];
  for (const file of ["main.mjs", "main.cjs"]) {
    pictures.push(readPicture((await sandbox.run([...command, file], options)).output));
  }
  return pictures;
}

function nodeVersions() {
  return [20, 22, 24, 26].map((major) => ({
    name: `Node ${major}`,
    project: "plain",
    node: toolFile(`node-${major}-linux-x64/bin/node`),
    work: async (sandbox) => {
      await installWithNpm(sandbox);
      return runPlain(sandbox);
    },
  }));
}

const runtimes = [
  {
    name: "Bun",
    project: "plain",
    node: toolFile("bun-linux-x64/bin/bun"),
    work: async (sandbox) => {
      await sandbox.run([sandbox.node, "install", "--ignore-scripts"]);
      return runPlain(sandbox);
    },
  },
  {
    name: "Deno",
    project: "plain",
    node: toolFile("deno-linux-x64/deno"),
    work: async (sandbox) => {
      await sandbox.run([sandbox.node, "install", "--node-modules-dir=auto"]);
      return runPlain(sandbox, [sandbox.node, "run", "--allow-all", "--node-modules-dir=auto"]);
    },
  },
];

const managers = [
  {
    name: "pnpm",
    project: "plain",
    work: async (sandbox) => {
      const { output } = await sandbox.run([sandbox.node, toolFile("pnpm/bin/pnpm.cjs"), "install"]);
      if (/Ignored build scripts/.test(output)) throw new Error(`pnpm found something to build:\n${output}`);
      return runPlain(sandbox);
    },
  },
  ...["node-modules", "pnp"].map((linker) => ({
    name: `Yarn, ${linker}`,
    project: "plain",
    work: async (sandbox) => {
      const yarn = [sandbox.node, toolFile("@yarnpkg/cli-dist/bin/yarn.js")];
      const env = { YARN_NODE_LINKER: linker };
      await sandbox.run([...yarn, "install"], { env });
      return runPlain(sandbox, [...yarn, "node"], { env });
    },
  })),
];

const bin = (sandbox, file) => join(sandbox.project, "node_modules", file);

const testRunners = [
  ...["forks", "threads", "vmForks", "vmThreads"].map((pool) => ({
    name: `Vitest, pool ${pool}`,
    project: "vitest",
    work: async (sandbox) => {
      await installWithNpm(sandbox);
      return [readPicture((await runVitest(sandbox, pool)).output)];
    },
  })),
  {
    name: "Vitest, linked checkout",
    project: "vitest",
    work: async (sandbox) => {
      await installWithNpm(sandbox);
      const installed = bin(sandbox, "latent-diffusion");
      rmSync(installed, { recursive: true });
      symlinkSync(inProject("."), installed, "junction");
      return [readPicture((await runVitest(sandbox, "forks")).output)];
    },
  },
  ...["29.7.0", "30.5.2"].map((version) => ({
    name: `Jest ${version}, node and jsdom`,
    project: "jest",
    versions: { jest: version, "jest-environment-jsdom": version },
    work: async (sandbox) => {
      await installWithNpm(sandbox);
      const { output } = await sandbox.run([sandbox.node, bin(sandbox, "jest/bin/jest.js"), "--ci", "--runInBand"]);
      return [readPicture(output)];
    },
  })),
];

function runVitest(sandbox, pool) {
  return sandbox.run([sandbox.node, bin(sandbox, "vitest/vitest.mjs"), "run", `--pool=${pool}`]);
}

/** A bundle that leaves the package outside works; one that swallowed it says so where it cannot find the binaries. */
const bundlers = [
  {
    name: "Vite, build --ssr",
    project: "vite",
    work: async (sandbox) => {
      await installWithNpm(sandbox);
      await sandbox.run([sandbox.node, bin(sandbox, "vite/bin/vite.js"), "build", "--ssr", "main.mjs"]);
      const built = ["main.js", "main.mjs"].find((file) => existsSync(join(sandbox.project, "dist", file)));
      return [readPicture((await sandbox.run([sandbox.node, `dist/${built}`])).output)];
    },
  },
  {
    name: "esbuild",
    project: "esbuild",
    work: async (sandbox) => {
      await installWithNpm(sandbox);
      const esbuild = [sandbox.node, bin(sandbox, "esbuild/bin/esbuild"), "--bundle", "--platform=node"];
      await sandbox.run([
        ...esbuild,
        "main.mjs",
        "--format=esm",
        "--external:latent-diffusion",
        "--outfile=dist/main.mjs",
      ]);
      await sandbox.run([...esbuild, "swallowed.cjs", "--external:sharp", "--outfile=dist/swallowed.cjs"]);
      await expectSwallowed(sandbox, "dist/swallowed.cjs");
      return [readPicture((await sandbox.run([sandbox.node, "dist/main.mjs"])).output)];
    },
  },
  {
    name: "webpack",
    project: "webpack",
    work: async (sandbox) => {
      await installWithNpm(sandbox);
      await sandbox.run([sandbox.node, bin(sandbox, "webpack-cli/bin/cli.js"), "--config", "webpack.config.cjs"]);
      await expectSwallowed(sandbox, "dist/swallowed.cjs");
      return [readPicture((await sandbox.run([sandbox.node, "dist/main.mjs"])).output)];
    },
  },
];

async function expectSwallowed(sandbox, file) {
  // Where no node_modules is above it, as on the machine that a bundle is deployed to.
  const deployed = join(sandbox.folder, "tmp", "swallowed.cjs");
  cpSync(join(sandbox.project, file), deployed);
  const { output } = await sandbox.run([sandbox.node, deployed], { fails: true });
  if (!/was bundled into/.test(output))
    throw new Error(`Expected an error that names the bundler but received:\n${output.slice(-2000)}`);
}

const typeScript = {
  name: "TypeScript: bundler, node16, node10",
  project: "typescript",
  work: async (sandbox) => {
    await installWithNpm(sandbox);
    for (const resolution of ["bundler", "node16", "node10"]) {
      await sandbox.run([sandbox.node, bin(sandbox, "typescript/bin/tsc"), "-p", `tsconfig.${resolution}.json`]);
    }
    return [];
  },
};

/** @type {readonly Case[]} */
export const matrix = [...nodeVersions(), ...runtimes, ...managers, ...testRunners, ...bundlers, typeScript];
