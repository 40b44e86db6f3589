// `npm run api`: writes docs/latent-diffusion.api.md, the whole public face as types, from dist/. Lint compares it, so that every change of the face
// shows in review.
import { mkdirSync } from "node:fs";
import { runMain, setup } from "./setup.mjs";
import { capture } from "./setup/command.mjs";
import { inProject } from "./setup/paths.mjs";

/**
 * Compare the committed API report with what dist/ exports, or write it anew.
 * @param {{ write?: boolean }} [options]
 * @returns {Promise<string[]>} what is wrong: the report differs, or a public signature names a type that is not exported
 */
export async function checkApiReport({ write = false } = {}) {
  mkdirSync(inProject("build/api"), { recursive: true });
  const bin = inProject("node_modules/@microsoft/api-extractor/bin/api-extractor");
  const config = ["--config", inProject("api-extractor.json")];
  const { code, output } = await capture([process.execPath, bin, "run", ...config, ...(write ? ["--local"] : [])]);
  return code === 0
    ? []
    : [output, "`npm run api` writes docs/latent-diffusion.api.md anew; commit it with the change."];
}

if (import.meta.filename === process.argv[1]) {
  await runMain(async () => {
    await setup();
    const complaints = await checkApiReport({ write: true });
    for (const complaint of complaints) process.stderr.write(`${complaint}\n`);
    return complaints.length === 0 ? 0 : 1;
  });
}
