import { spawn } from "node:child_process";
import { accessSync, constants, cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { inProject } from "../../scripts/setup/paths.mjs";

/** What package managers' own scripts call. No Python, no compiler, no CMake. */
const PROGRAMS = [
  "sh",
  "bash",
  "env",
  "uname",
  "dirname",
  "basename",
  "readlink",
  "sed",
  "cat",
  "tar",
  "gzip",
  "cp",
  "ln",
  "mkdir",
  "rm",
];
const TIMEOUT = 10 * 60 * 1000;

/** A folder with nothing in it, empty caches, an empty home, and a path on which only {@link PROGRAMS} and one Node are found. */
export class Sandbox {
  /**
   * @param {string} folder is made
   * @param {string} registry
   * @param {string} node the Node to find on the path
   */
  constructor(folder, registry, node = process.execPath) {
    this.folder = folder;
    this.node = node;
    this.project = join(folder, "project");
    const bin = join(folder, "bin");
    for (const path of [this.project, bin, join(folder, "home"), join(folder, "tmp")])
      mkdirSync(path, { recursive: true });
    linkPrograms(bin, node);
    // Some managers read the environment, some only the file.
    const settings = `registry=${registry}\n//${new URL(registry).host}/:_authToken=anyone\n`;
    for (const path of [this.project, join(folder, "home")]) writeFileSync(join(path, ".npmrc"), settings);
    this.env = environment(folder, bin, registry);
  }

  /**
   * Copy one of test/install/projects.
   * @param {string} name
   * @param {Record<string, string>} [versions] other versions of its dependencies
   */
  copyProject(name, versions = {}) {
    cpSync(inProject(`test/install/projects/${name}`), this.project, { recursive: true });
    const file = join(this.project, "package.json");
    const manifest = JSON.parse(readFileSync(file, "utf8"));
    Object.assign((manifest.devDependencies ??= {}), versions);
    writeFileSync(file, JSON.stringify(manifest, null, 2));
  }

  /**
   * Run a command in the project; its output must come with exit status 0.
   * @param {readonly string[]} command
   * @param {{ env?: NodeJS.ProcessEnv, fails?: boolean }} [options] `fails`: expect another status instead
   * @returns {Promise<{ output: string, seconds: number }>}
   * @throws {Error} with the end of the output
   */
  async run(command, { env = {}, fails = false } = {}) {
    const begun = performance.now();
    const { code, output } = await execute(command, this.project, { ...this.env, ...env });
    if ((code === 0) === fails) throw new Error(`\`${command.join(" ")}\` ended with ${code}:\n${output.slice(-4000)}`);
    return { output, seconds: (performance.now() - begun) / 1000 };
  }
}

function linkPrograms(bin, node) {
  if (process.platform === "win32") return;
  symlinkSync(node, join(bin, "node"));
  const folders = (process.env.PATH ?? "").split(delimiter);
  for (const name of PROGRAMS) {
    const found = folders.map((folder) => join(folder, name)).find(isProgram);
    if (found) symlinkSync(found, join(bin, name));
  }
}

function isProgram(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function environment(folder, bin, registry) {
  const home = join(folder, "home");
  // Windows finds its own libraries by these; elsewhere they are not set.
  const kept = Object.entries(process.env).filter(([name]) => /^(SystemRoot|ComSpec|PATHEXT|WINDIR)$/i.test(name));
  return {
    ...Object.fromEntries(kept),
    PATH: bin,
    HOME: home,
    USERPROFILE: home,
    TMPDIR: join(folder, "tmp"),
    TEMP: join(folder, "tmp"),
    CI: "true",
    NO_COLOR: "1",
    npm_config_registry: registry,
    npm_config_cache: join(folder, "npm-cache"),
    npm_config_update_notifier: "false",
    npm_config_audit: "false",
    npm_config_fund: "false",
    YARN_NPM_REGISTRY_SERVER: registry,
    YARN_UNSAFE_HTTP_WHITELIST: "127.0.0.1",
    // Yarn 4 refuses versions younger than a day, and these are seconds old.
    YARN_NPM_MINIMAL_AGE_GATE: "0",
    YARN_ENABLE_IMMUTABLE_INSTALLS: "false",
    YARN_ENABLE_TELEMETRY: "false",
    NEXT_TELEMETRY_DISABLED: "1",
    DENO_NO_UPDATE_CHECK: "1",
  };
}

function execute([program, ...args], cwd, env) {
  return new Promise((resolve) => {
    const child = spawn(program, args, { cwd, env, stdio: ["ignore", "pipe", "pipe"], timeout: TIMEOUT });
    let output = "";
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding("utf8").on("data", (text) => (output += text));
    child.on("error", (error) => resolve({ code: error.message, output }));
    child.on("close", (code, signal) => resolve({ code: code ?? signal, output }));
  });
}
