// Four pictures from one seed, in a grid:   node examples/generate.mjs [checkpoint folder] [picture to write]
import { Generator, LDMPipeline, makeGrid } from "latent-diffusion";

const [checkpoint = "models/demo", output = "grid.png"] = process.argv.slice(2);

const pipe = await LDMPipeline.fromPretrained(checkpoint);
const { images } = await pipe.generate({
  batchSize: 4,
  numInferenceSteps: 20,
  generator: Generator.fromSeed(0),
  onProgress: ({ step, steps }) => console.log(`step ${step} of ${steps}`),
});
await makeGrid(images, { gap: 2 }).save(output);
console.log(`wrote ${output}`);
