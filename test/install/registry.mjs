import { spawn } from "node:child_process";
import { mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { capture, SetupError } from "../../scripts/setup/command.mjs";
import { npmProgram, toolFile } from "./tools.mjs";

/**
 * Start a registry on loopback: our own packages come from it alone, all others from the registry that npm is configured for.
 * @param {string} folder an empty folder
 * @returns {Promise<{ url: string, stop: () => void }>}
 */
export async function startRegistry(folder) {
  mkdirSync(folder, { recursive: true });
  const port = await findFreePort();
  const url = `http://127.0.0.1:${port}/`;
  const config = join(folder, "config.yaml");
  writeFileSync(config, registryConfig(folder, await configuredRegistry()));
  const log = openSync(join(folder, "registry.log"), "w");
  const child = spawn(
    process.execPath,
    [toolFile("verdaccio/bin/verdaccio"), "--config", config, "--listen", `127.0.0.1:${port}`],
    { stdio: ["ignore", log, log], cwd: folder },
  );
  const stop = () => child.kill();
  process.once("exit", stop);
  // A signal alone would leave the registry running.
  for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(130));
  for (let attempt = 0; attempt < 300 && child.exitCode === null; attempt++) {
    if (await answers(`${url}-/ping`)) return { url, stop };
    await sleep(100);
  }
  stop();
  const said = readFileSync(join(folder, "registry.log"), "utf8").slice(-2000);
  throw new SetupError(
    `The registry does not answer at ${url}:\n${said}`,
    "Remove .local/install-tools and try again.",
  );
}

/** `cache: false`: what others published is not stored again; this registry lives for one run. */
function registryConfig(folder, upstream) {
  const own = "{ access: $all, publish: $all, unpublish: $all }";
  return `
storage: ${JSON.stringify(join(folder, "storage"))}
max_body_size: 400mb
publish: { allow_offline: true }
web: { enable: false }
uplinks:
  upstream: { url: ${JSON.stringify(upstream)}, cache: false, timeout: 60s, max_fails: 100 }
packages:
  "latent-diffusion": ${own}
  "@latent-diffusion/*": ${own}
  "**": { access: $all, proxy: upstream }
log: { type: stdout, format: pretty, level: warn }
`;
}

async function configuredRegistry() {
  const { stdout } = await capture([process.execPath, npmProgram("npm"), "config", "get", "registry"]);
  return stdout.trim();
}

function findFreePort() {
  return new Promise((resolve, reject) => {
    const server = createServer().on("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

async function answers(url) {
  try {
    return (await fetch(url)).ok;
  } catch {
    return false;
  }
}
