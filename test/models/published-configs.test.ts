import { readFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { UNet2DModel } from "../../lib/models/unet-2d/model.js";
import { VQModel } from "../../lib/models/vq/model.js";
import { readScheduler, schedulerFromConfig } from "../../lib/schedulers/known.js";
import type { Tensor } from "../../lib/torch/tensor.js";
import {
  makePublished,
  PUBLISHED,
  publishedNames,
  type PublishedKind,
  readPublished,
  runScheduler,
  runUNet,
  runVQ,
} from "../support/published.js";

/** A few numbers of each output, as Python computed them. */
const golden = JSON.parse(readFileSync(join(PUBLISHED, "golden.json"), "utf8")) as Record<string, number[]>;

/** A file's lines in which no value of its own stands: those are written on purpose. */
function lines(path: string): string[] {
  const own = /"(_diffusers_version|_name_or_path|scaling_factor)":/;
  return readFileSync(path, "utf8")
    .split("\n")
    .filter((line) => !own.test(line));
}

function compareFiles(t: Test, kind: PublishedKind, name: string, saved: string): void {
  const file = kind === "scheduler" ? "scheduler_config.json" : "config.json";
  t.strictSame(lines(join(saved, file)), lines(join(PUBLISHED, kind, `${name}.json`)), "saved as it was");
}

async function compareNumbers(t: Test, key: string, output: Tensor): Promise<void> {
  const expected = golden[key] ?? [];
  const data = Array.from((await output.data()) as Float32Array);
  const step = Math.max(1, Math.floor(data.length / 6));
  const received = expected.map((_, i) => data[i * step] ?? NaN);
  const largest = Math.max(...expected.map(Math.abs), 1);
  const error = Math.max(...expected.map((value, i) => Math.abs(value - (received[i] ?? NaN))));
  t.ok(expected.length === 6 && error <= 1e-4 * largest, `what Python computes, within ${error}`);
}

t.test("at least 30 published configs", (t) => {
  const count = (["unet", "vq", "scheduler"] as const).reduce((sum, kind) => sum + publishedNames(kind).length, 0);
  t.ok(count >= 30, String(count));
  t.end();
});

for (const kind of ["unet", "vq"] as const)
  for (const name of publishedNames(kind))
    t.test(`${kind} of ${name}`, async (t) => {
      const folder = t.testdir({});
      await makePublished(kind, name, join(folder, "published"));
      const source = join(folder, "published");
      using model =
        kind === "unet"
          ? await UNet2DModel.fromPretrained(source, { optimize: false })
          : await VQModel.fromPretrained(source, { optimize: false });
      const output = model instanceof UNet2DModel ? await runUNet(model) : (await runVQ(model)).output;
      await compareNumbers(t, `${kind}/${name}`, output);
      await model.savePretrained(join(folder, "saved"));
      compareFiles(t, kind, name, join(folder, "saved"));
    });

for (const name of publishedNames("scheduler"))
  t.test(`scheduler of ${name}`, async (t) => {
    const folder = t.testdir({});
    await makePublished("scheduler", name, folder);
    const scheduler = await readScheduler(folder);
    await compareNumbers(t, `scheduler/${name}`, runScheduler(scheduler));
    await scheduler.savePretrained(join(folder, "saved"));
    compareFiles(t, "scheduler", name, join(folder, "saved"));
  });

t.test("what cannot run here is refused, with the reason", (t) => {
  for (const name of publishedNames("refused")) {
    const config = readPublished("refused", name);
    try {
      schedulerFromConfig(config);
      t.fail(name);
    } catch (error) {
      t.match(error, { code: "ERR_CONFIG_UNSUPPORTED" }, `${name}: ${(error as Error).message}`);
    }
  }
  t.end();
});
