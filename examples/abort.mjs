// Stop a generation while it runs:   node examples/abort.mjs [checkpoint folder]
import { LDMPipeline } from "latent-diffusion";

const [checkpoint = "models/demo"] = process.argv.slice(2);

const pipe = await LDMPipeline.fromPretrained(checkpoint);
const controller = new AbortController();
try {
  await pipe.generate({
    seed: 0,
    signal: controller.signal, // AbortSignal.timeout(10_000) would be a time limit
    onProgress: ({ step }) => {
      if (step === 3) controller.abort("three steps are enough");
    },
  });
} catch (error) {
  if (error.code !== "ERR_ABORTED") throw error;
  console.log(`${error.name}: ${error.cause}`);
}
