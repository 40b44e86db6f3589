import { readdirSync, readFileSync } from "node:fs";
import t from "tap";
import {
  binaryPackages,
  libTorchVersion,
  parsePackReport,
  platforms,
  readTemplate,
} from "../../scripts/pack/packages.mjs";
import { publishedManifest } from "../../scripts/pack/root.mjs";
import { inProject } from "../../scripts/setup/paths.mjs";

const manifest = JSON.parse(readFileSync(inProject("package.json"), "utf8")) as Record<string, unknown>;

t.test("the published package names every binary package, in exact versions", (t) => {
  const published = publishedManifest(manifest) as { optionalDependencies: Record<string, string>; version: string };
  const { version } = published;
  t.strictSame(published.optionalDependencies, {
    "@latent-diffusion/linux-x64": version,
    "@latent-diffusion/linux-arm64": version,
    "@latent-diffusion/darwin-arm64": version,
    "@latent-diffusion/win32-x64": version,
    "@latent-diffusion/libtorch-linux-x64": libTorchVersion,
    "@latent-diffusion/libtorch-linux-arm64": libTorchVersion,
    "@latent-diffusion/libtorch-darwin-arm64": libTorchVersion,
    "@latent-diffusion/libtorch-win32-x64": libTorchVersion,
  });
  t.match(libTorchVersion, /^\d+\.\d+\.\d+-r\.\d+$/, "LibTorch's version with a revision of ours");
  t.end();
});

t.test("the published package runs nothing when it is installed; the checkout asks for no binary package", (t) => {
  const published = publishedManifest(manifest);
  for (const key of ["scripts", "devDependencies", "gypfile", "tap"]) t.notOk(key in published, key);
  t.notOk("optionalDependencies" in manifest, "`npm ci` in a checkout needs no package that is not published yet");
  t.strictSame(published.dependencies, manifest.dependencies);
  t.end();
});

t.test("a template is filled in for each platform", (t) => {
  for (const platform of Object.keys(platforms)) {
    for (const template of ["addon", "libtorch"]) {
      const filled = JSON.parse(readTemplate(`npm/${template}/package.json`, platform)) as { name: string };
      t.ok(filled.name in binaryPackages(), filled.name);
      t.notMatch(readTemplate(`npm/${template}/README.md`, platform), /platform|&lt;|<name>/);
    }
  }
  t.end();
});

t.test("a LibTorch package has notices of what the wheel's own licences leave out", (t) => {
  t.strictSame(readdirSync(inProject("npm/libtorch/notices")).sort(), ["README.md", "libgomp", "onemkl.txt"]);
  const read = (name: string) => readFileSync(inProject(`npm/libtorch/notices/${name}`), "utf8");
  t.match(read("onemkl.txt"), /Intel Simplified Software License/);
  t.match(read("libgomp/COPYING3"), /GNU GENERAL PUBLIC LICENSE\s+Version 3, 29 June 2007/);
  t.match(read("libgomp/COPYING.RUNTIME"), /GCC RUNTIME LIBRARY EXCEPTION/);
  t.end();
});

t.test("npm's reports of a tarball are read in both forms, with warnings before them", (t) => {
  const tarball = { filename: "a-1.0.0.tgz", files: [{ path: "index.js" }] };
  t.strictSame(parsePackReport(`npm warn x [y]\n${JSON.stringify([tarball], null, 2)}`), [tarball]);
  t.strictSame(parsePackReport(JSON.stringify({ a: tarball }, null, 2)), [tarball]);
  t.end();
});
