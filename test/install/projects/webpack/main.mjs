import { createHash } from "node:crypto";
import { resolve } from "node:path";
import { Generator, LDMPipeline } from "latent-diffusion";

// webpack would replace `require.resolve` by the number of a module.
const demo = resolve("node_modules/@latent-diffusion/demo");
const pipe = await LDMPipeline.fromPretrained(demo);
const { images } = await pipe.generate({ numInferenceSteps: 4, generator: Generator.fromSeed(0) });
await images[0].save("face.png");
console.log(`picture ${createHash("sha256").update(images[0].data).digest("hex")}`);
