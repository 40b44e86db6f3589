import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { UNet2DModel } from "../../lib/models/unet-2d/model.js";
import { VQModel } from "../../lib/models/vq/model.js";
import { configure } from "../../lib/native/open.js";
import { readScheduler } from "../../lib/schedulers/known.js";
import { runScheduler, runUNet, runVQ } from "../support/published.js";
import { assertTensorEqual, pick, readTensors } from "../support/tensors.js";

// Published configs compute what diffusers computes, bit for bit, from the same files.

const root = process.env.PARITY_DIR;
const skip =
  root === undefined ? "needs the files of reference/published.py in PARITY_DIR: npm run test:parity" : false;
const reference = join(root ?? "", "published");
const cases = existsSync(reference) ? readdirSync(reference).sort() : [];
if (skip === false) configure({ threads: Number(process.env.PARITY_THREADS ?? 2) });

t.test("at least 30 configs", { skip }, (t) => {
  t.ok(cases.length >= 30, String(cases.length));
  t.end();
});

for (const name of cases)
  t.test(name, { skip }, async (t) => {
    const folder = join(reference, name);
    const { kind, timesteps } = JSON.parse(readFileSync(join(folder, "case.json"), "utf8")) as {
      kind: "unet" | "vq" | "scheduler";
      timesteps?: number[];
    };
    const tensors = readTensors(join(folder, "tensors.safetensors"));
    const options = (name: string): { tolerance: number; name: string } => ({ tolerance: 0, name });
    if (kind === "scheduler") {
      const scheduler = await readScheduler(folder);
      const output = runScheduler(scheduler);
      t.strictSame(scheduler.timesteps, timesteps, "timesteps");
      // numpy's logarithm, which karras sigmas are made of, is not LibTorch's.
      const tolerance = scheduler.config.use_karras_sigmas === true ? 1e-4 : 0;
      await assertTensorEqual(t, output, pick(tensors, "output"), { tolerance, name: "output" });
    } else if (kind === "unet") {
      using model = await UNet2DModel.fromPretrained(folder, { optimize: false });
      await assertTensorEqual(t, await runUNet(model), pick(tensors, "output"), options("output"));
    } else {
      using model = await VQModel.fromPretrained(folder, { optimize: false });
      const { output, encoded } = await runVQ(model);
      await assertTensorEqual(t, output, pick(tensors, "output"), options("decoded"));
      await assertTensorEqual(t, encoded, pick(tensors, "encoded"), options("encoded"));
    }
  });
