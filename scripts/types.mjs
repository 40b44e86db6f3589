// `npm run types`: type-checks the library, and the tests with it.
import { createRequire } from "node:module";
import { runMain, setup } from "./setup.mjs";
import { runCommand } from "./setup/command.mjs";
import { Report } from "./setup/report.mjs";

await runMain(async () => {
  const report = new Report();
  await setup({ report });
  const tsc = createRequire(import.meta.url).resolve("typescript/bin/tsc");
  for (const [name, config] of [
    ["library", "tsconfig.json"],
    ["tests", "tsconfig.test.json"],
  ]) {
    await report.part(name, async (say) => {
      say("checking types");
      await runCommand([process.execPath, tsc, "-p", config, "--noEmit"], {
        log: `types-${name}`,
        advice: "See the messages above.",
      });
      return { result: "types agree" };
    });
  }
});
