import { createHash } from "node:crypto";
import { createRequire } from "node:module";
import { dirname } from "node:path";
import { Generator, LDMPipeline } from "latent-diffusion";

const demo = dirname(createRequire(import.meta.url).resolve("@latent-diffusion/demo/package.json"));
const pipe = await LDMPipeline.fromPretrained(demo);
const { images } = await pipe.generate({ numInferenceSteps: 4, generator: Generator.fromSeed(0) });
await images[0].save("face.png");
console.log(`picture ${createHash("sha256").update(images[0].data).digest("hex")}`);
