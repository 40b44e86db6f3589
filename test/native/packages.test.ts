import { cpSync, mkdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import t from "tap";
import { explainUnfitCpu, explainUnfitHost, type Host, thisHost } from "../../lib/native/host.js";
import { PACKAGE_ROOT } from "../../lib/native/libtorch.js";
import { type explainMissingPackage, type findBinaryPackage, PLATFORM } from "../../lib/native/packages.js";

interface Packages {
  readonly explainMissingPackage: typeof explainMissingPackage;
  readonly findBinaryPackage: typeof findBinaryPackage;
}

/** A project in which latent-diffusion is installed as npm lays it out, with these other packages. */
function install(folder: string, packages: readonly string[], root = "latent-diffusion"): Packages {
  const modules = join(folder, "node_modules");
  const installed = join(modules, "latent-diffusion");
  for (const name of packages) {
    mkdirSync(join(modules, name), { recursive: true });
    writeFileSync(join(modules, name, "package.json"), JSON.stringify({ name }));
  }
  for (const file of ["dist/native/packages.js", "dist/native/host.js"])
    cpSync(join(PACKAGE_ROOT, file), join(installed, file), { recursive: true });
  writeFileSync(join(installed, "package.json"), JSON.stringify({ name: root }));
  return createRequire(join(installed, "package.json"))("./dist/native/packages.js") as Packages;
}

const OTHER = PLATFORM === "darwin-arm64" ? "linux-x64" : "darwin-arm64";

t.test("an installed package is found", (t) => {
  const folder = t.testdir({});
  const names = [`@latent-diffusion/${PLATFORM}`, `@latent-diffusion/libtorch-${PLATFORM}`];
  const { findBinaryPackage: find } = install(folder, names);
  t.equal(find("addon"), join(folder, "node_modules", names[0] ?? ""));
  t.equal(find("libTorch"), join(folder, "node_modules", names[1] ?? ""));
  t.equal(find("addon", OTHER), undefined);
  t.equal(find("addon", "plan9-x64"), undefined);
  t.end();
});

t.test("each cause of a missing package is named, with the command that mends it", (t) => {
  const omitted = install(t.testdir({}), []);
  t.match(omitted.explainMissingPackage("addon"), /--omit=optional.*`npm install --include=optional latent-diffusion`/);
  t.match(omitted.explainMissingPackage("libTorch"), `@latent-diffusion/libtorch-${PLATFORM} is not installed`);
  t.end();
});

t.test("a node_modules that was copied from another platform", (t) => {
  const copied = install(t.testdir({}), [`@latent-diffusion/${OTHER}`]);
  t.match(
    copied.explainMissingPackage("addon"),
    new RegExp(`binaries for ${OTHER} .* \`rm -rf node_modules && npm ci\``),
  );
  t.end();
});

t.test("a lock file that was written on another platform", (t) => {
  const folder = t.testdir({
    "package-lock.json": JSON.stringify({ packages: { "node_modules/latent-diffusion": {} } }),
  });
  const locked = install(folder, []);
  t.match(
    locked.explainMissingPackage("addon"),
    /package-lock\.json was written .* `rm -rf node_modules package-lock\.json/,
  );
  const name = `node_modules/@latent-diffusion/${PLATFORM}`;
  const whole = { packages: { "node_modules/latent-diffusion": {}, [name]: {} } };
  writeFileSync(join(folder, "package-lock.json"), JSON.stringify(whole));
  t.match(locked.explainMissingPackage("addon"), /--omit=optional/, "the lock file is not the cause");
  t.end();
});

t.test("a bundle that swallowed the package", (t) => {
  const swallowed = install(t.testdir({}), [], "somebody's server");
  t.match(swallowed.explainMissingPackage("addon"), /was bundled into .* Mark latent-diffusion as external/);
  t.end();
});

t.test("a machine on which no binary can run, whatever is installed", (t) => {
  const folder = t.testdir({});
  const { explainMissingPackage: explain } = install(folder, []);
  const fit: Host = {
    platform: "linux-x64",
    libc: "glibc",
    glibcVersion: "2.28",
    instructions: new Set(["sse4_2", "ssse3", "sse4_1"]),
  };
  const cases: readonly (readonly [host: Partial<Host>, explanation: RegExp])[] = [
    [{}, /not installed/],
    [{ glibcVersion: "2.36", instructions: undefined }, /not installed/],
    [{ glibcVersion: "3.0" }, /not installed/],
    [{ libc: "musl", glibcVersion: undefined }, /has musl .* `FROM node:22-slim` instead of/],
    [{ glibcVersion: "2.27" }, /has glibc 2\.27, and the binaries need 2\.28 .* `docker run -it node:22-slim`/],
    [{ glibcVersion: "2.5" }, /has glibc 2\.5,/],
    [{ instructions: new Set(["sse2"]) }, /not installed/],
    [{ platform: "linux-arm64", instructions: new Set(["asimd"]) }, /libtorch-linux-arm64 is not installed/],
    [{ platform: "linux-ia32" }, /no prebuilt binaries for linux-ia32, .* `npm run setup`/],
  ];
  for (const [host, explanation] of cases) t.match(explain("libTorch", { ...fit, ...host }), explanation);
  t.end();
});

t.test("a CPU that sharp would end the process on", (t) => {
  const host: Host = { platform: "linux-x64", libc: "glibc", instructions: new Set(["ssse3", "sse4_1", "sse4_2"]) };
  t.equal(explainUnfitCpu(host), undefined);
  t.match(
    explainUnfitCpu({ ...host, instructions: new Set(["ssse3"]) }),
    /lacks sse4_1, sse4_2, .*`qemu-system-x86_64 -cpu host`/,
  );
  t.equal(explainUnfitCpu({ ...host, instructions: undefined }), undefined, "it cannot be told");
  t.equal(explainUnfitCpu({ ...host, platform: "linux-arm64", instructions: new Set(["asimd"]) }), undefined);
  t.end();
});

t.test("this machine is described, and fits", { skip: process.platform !== "linux" }, (t) => {
  const host = thisHost();
  t.match(host, { platform: PLATFORM, libc: "glibc", glibcVersion: /^2\.\d+$/ });
  t.ok((host.instructions?.size ?? 0) > 5, "instruction sets are read from the first kilobytes");
  t.equal(explainUnfitHost(host), undefined);
  t.equal(explainUnfitCpu(), undefined);
  t.end();
});
