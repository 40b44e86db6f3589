// Watch a picture come:   node examples/stream.mjs [checkpoint folder] [folder for the previews and the picture]
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { LDMPipeline } from "latent-diffusion";

const [checkpoint = "models/demo", folder = "stream"] = process.argv.slice(2);
await mkdir(folder, { recursive: true });

const pipe = await LDMPipeline.fromPretrained(checkpoint);
for await (const { step, steps, preview, images } of pipe.stream({ seed: 0, numInferenceSteps: 20, previewEvery: 5 })) {
  // A preview is as small as the latents, and costs next to nothing; the decoder runs once, at the end.
  await preview?.[0].save(join(folder, `step-${step}.png`));
  await images?.[0].save(join(folder, "picture.png"));
  console.log(images ? "done" : `step ${step} of ${steps}`);
}
