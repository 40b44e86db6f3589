// `npm run pack:all`: makes the tarballs of this platform in .local/packages/.
// `node scripts/pack.mjs root demo --out folder` makes some of them: root, addon, libtorch, demo.
import { rmSync, statSync } from "node:fs";
import { basename, resolve } from "node:path";
import { parseArgs } from "node:util";
import { packAddon, packDemo, packLibTorch } from "./pack/binaries.mjs";
import { packageFolder } from "./pack/packages.mjs";
import { packRoot } from "./pack/root.mjs";
import { runMain, setup } from "./setup.mjs";
import { SetupError } from "./setup/command.mjs";
import { Report } from "./setup/report.mjs";

const KINDS = ["root", "addon", "libtorch", "demo"];

await runMain(async () => {
  const { values, positionals } = parseArgs({
    options: { all: { type: "boolean", default: false }, out: { type: "string", default: packageFolder } },
    allowPositionals: true,
  });
  const kinds = values.all ? KINDS : positionals;
  const unknown = kinds.filter((kind) => !KINDS.includes(kind));
  if (kinds.length === 0 || unknown.length > 0) {
    throw new SetupError(
      `Expected --all or some of ${KINDS.join(", ")} but received ${unknown.join(", ") || "nothing"}`,
      "For example: node scripts/pack.mjs --all",
    );
  }
  const report = new Report();
  const out = resolve(values.out);
  const libTorch = await setup({ report });
  if (values.all) rmSync(out, { recursive: true, force: true });
  const makers = { root: packRoot, addon: packAddon, libtorch: packLibTorch, demo: packDemo };
  for (const kind of kinds) {
    await report.part(kind, async (say) => {
      say("packing");
      const tarball = await makers[kind](out, libTorch.path);
      return { result: `${basename(tarball)}, ${(statSync(tarball).size / 1e6).toFixed(1)} MB` };
    });
  }
  report.write(`  in ${out}`);
});
