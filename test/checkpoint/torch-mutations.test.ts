import { readFileSync } from "node:fs";
import { join } from "node:path";
import { types } from "node:util";
import t from "tap";
import { readTorchContent } from "../../lib/checkpoint/torch-file.js";
import { LatentDiffusionError } from "../../lib/errors.js";
import { PickleTensor, type PickleValue } from "../../lib/files/pickle-values.js";
import { layOutTensor } from "../../lib/files/torch-pickle.js";
import { sourceOf } from "../support/byte-source.js";
import { mutate } from "../support/mutations.js";

// Damaged files of torch.save: each is read whole or refused with a typed error, in no time. `npm run test:torture` asks for more of them.

const COUNT = Number(process.env.TORTURE_MUTATIONS ?? 400);
const SEED = Number(process.env.TORTURE_SEED ?? 1);
const MAX_MILLISECONDS = 1000;
const FIXTURES = join(__dirname, "..", "fixtures", "torch-save");

/** All tensors of a value, found without recursion: damage can make cycles. */
function tensorsIn(value: PickleValue): PickleTensor[] {
  const seen = new Set<PickleValue>([value]);
  for (const item of seen) {
    const parts = Array.isArray(item) ? item : item instanceof Map ? [...item.values()] : [];
    for (const part of parts) if (typeof part === "object") seen.add(part);
  }
  return [...seen].filter((item) => item instanceof PickleTensor);
}

async function read(bytes: Uint8Array): Promise<number> {
  const { value, locate } = await readTorchContent(sourceOf(bytes), "damaged");
  let found = 0;
  for (const tensor of tensorsIn(value)) {
    const layout = layOutTensor(tensor);
    if (typeof layout === "string") continue;
    const begin = locate(tensor.storage) + layout.begin;
    if (begin < 0 || begin > bytes.length) throw new Error(`a tensor at ${begin} of ${bytes.length} bytes`);
    found++;
  }
  return found;
}

/** A busy machine makes anything slow once: what is slow is tried again, and its quickest try counts. */
async function attempt(bytes: Uint8Array): Promise<{ error: unknown; milliseconds: number }> {
  let error: unknown;
  let milliseconds = Infinity;
  for (let round = 0; round < 3 && milliseconds > MAX_MILLISECONDS; round++) {
    const since = performance.now();
    error = await read(bytes).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    milliseconds = Math.min(milliseconds, performance.now() - since);
  }
  return { error, milliseconds };
}

for (const name of ["zip.bin", "legacy.bin", "protocol-5.bin", "lightning.ckpt", "lightning-legacy.ckpt"]) {
  t.test(`${COUNT} damaged copies of ${name}`, async (t) => {
    const original = readFileSync(join(FIXTURES, name));
    t.ok((await read(original)) >= 20, "the file itself is whole");
    // Half of the changes hit the pickle, where most of the meaning is.
    const pickle = name.includes("legacy") ? [0, original.length / 2] : [60, 2700];
    const refused = new Map<string, number>();
    let slowest = 0;
    for (let i = 0; i < COUNT; i++) {
      const seed = SEED + i;
      const bytes = i % 2 === 0 ? mutate(original, seed) : mutate(original, seed, ...(pickle as [number, number]));
      const { error, milliseconds } = await attempt(bytes);
      slowest = Math.max(slowest, milliseconds);
      if (error === undefined) continue;
      if (!(error instanceof LatentDiffusionError) || error.code !== "ERR_CHECKPOINT_INVALID") {
        t.fail(`seed ${seed}: ${types.isNativeError(error) ? error.stack : "no error at all"}`);
        break;
      }
      const kind = error.message.replaceAll(/"[^"]*"|\d+/g, "_").slice(0, 60);
      refused.set(kind, (refused.get(kind) ?? 0) + 1);
    }
    const total = [...refused.values()].reduce((sum, count) => sum + count, 0);
    t.ok(slowest < MAX_MILLISECONDS, `the slowest took ${slowest.toFixed(1)} ms`);
    t.ok(total > COUNT / 4 && refused.size > 10, `${total} of ${COUNT} were refused, in ${refused.size} ways`);
    t.comment(`${total} refused, ${COUNT - total} read; slowest ${slowest.toFixed(1)} ms`);
  });
}
