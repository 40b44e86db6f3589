// Two networks, one decoder:   node examples/swap-weights.mjs [checkpoint folder] [picture to write] [other checkpoint folder]
import { LDMPipeline, makeGrid, UNet2DModel } from "latent-diffusion";

const [checkpoint = "models/demo", output = "both.png", other = checkpoint] = process.argv.slice(2);

const first = await LDMPipeline.fromPretrained(checkpoint);
const unet = await UNet2DModel.fromPretrained(other, { subfolder: "unet" });
const second = new LDMPipeline({ ...first.components, unet }); // the decoder and the scheduler are the same objects

const images = [];
for (const pipe of [first, second]) images.push(...(await pipe.generate({ seed: 1, numInferenceSteps: 10 })).images);
await makeGrid(images).save(output);

first.dispose(); // frees the first network alone: the second pipeline still holds the decoder
console.log(`wrote ${output}; still in use: ${second.components.vqvae.disposed === false}`);
second.dispose();
