// Does argv[2] for ever, or once, and ends in argv[3]'s way after argv[4] milliseconds; argv[5] is a folder to save in.
import { join } from "node:path";
import { CHECKPOINT, library } from "../common.mjs";

const { LDMPipeline, op } = library;
const [moment, ending, delay, folder] = process.argv.slice(2);
const pipe = await LDMPipeline.fromPretrained(CHECKPOINT);
let over = false;

const repeat = async (work) => {
  while (!over) await work();
};

const MOMENTS = {
  idle: async () => undefined,
  load: () => repeat(async () => (await LDMPipeline.fromPretrained(CHECKPOINT)).dispose()),
  denoise: () => repeat(() => pipe.generate({ seed: 1, batchSize: 4, numInferenceSteps: 20 })),
  decode: () =>
    repeat(async () => {
      const latents = op("ones", [1, 3, 96, 96]);
      (await pipe.vqvae.decode(latents)).sample.dispose();
      latents.dispose();
    }),
  save: () => repeat(() => pipe.savePretrained(join(folder, "model"))),
};

const ENDINGS = {
  exit: () => process.exit(7),
  end: () => {
    over = true;
  },
  throw: () => {
    throw new Error("on purpose");
  },
  rejection: () => void Promise.reject(new Error("on purpose")),
  SIGTERM: () => process.kill(process.pid, "SIGTERM"),
  SIGINT: () => process.kill(process.pid, "SIGINT"),
};

void MOMENTS[moment]();
setTimeout(() => {
  console.log(`ends ${Date.now()}`);
  ENDINGS[ending]();
}, Number(delay));
