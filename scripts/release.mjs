// `node scripts/release.mjs <folder> [--registry <url>] [--provenance]`: publishes the tarballs of a folder, the root last.
// The release workflow calls it once it has the packages of all platforms.
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { publishAll } from "./pack/publish.mjs";
import { runMain } from "./setup.mjs";
import { SetupError } from "./setup/command.mjs";
import { Report } from "./setup/report.mjs";

await runMain(async () => {
  const { values, positionals } = parseArgs({
    options: { registry: { type: "string" }, provenance: { type: "boolean", default: false } },
    allowPositionals: true,
  });
  if (positionals.length !== 1) {
    throw new SetupError(
      `Expected one folder of tarballs but received ${positionals.length}`,
      "For example: node scripts/release.mjs packages --provenance",
    );
  }
  await new Report({ verbose: true }).part("publish", async (say) => {
    const published = await publishAll(resolve(positionals[0]), { ...values, say });
    return { result: published.length > 0 ? published.join(", ") : "everything was published before" };
  });
});
