// Loads argv[4], damaged in argv[3] ways from the seed argv[2] on: loads, or fails with a typed error. A crash ends this process.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { faultOf, library, randomizer } from "../common.mjs";
import { mutate } from "./mutate.mjs";

const [ownSeed, count, file] = process.argv.slice(2);
const bytes = readFileSync(file);
const folder = mkdtempSync(join(tmpdir(), "latent-diffusion-torture-"));
const path = join(folder, "net.pt");
const random = randomizer(Number(ownSeed));
let loaded = 0;
for (let i = 0; i < Number(count); i++) {
  writeFileSync(path, mutate(bytes, random));
  try {
    (await library.ScriptModule.load(path, { trusted: true })).dispose();
    loaded++;
  } catch (error) {
    const fault = faultOf(error);
    if (fault) {
      console.log(`mutation ${i} of seed ${ownSeed}: ${fault}`);
      process.exitCode = 1;
    }
  }
}
rmSync(folder, { recursive: true });
console.log(`${count} mutations, ${loaded} loaded, ${count - loaded} refused`);
