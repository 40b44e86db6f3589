const { createHash } = require("node:crypto");
const { dirname } = require("node:path");
const { Generator, LDMPipeline } = require("latent-diffusion");

async function main() {
  const pipe = await LDMPipeline.fromPretrained(dirname(require.resolve("@latent-diffusion/demo/package.json")));
  const { images } = await pipe.generate({ numInferenceSteps: 4, generator: Generator.fromSeed(0) });
  await images[0].save("face.png");
  console.log(`picture ${createHash("sha256").update(images[0].data).digest("hex")}`);
}

main();
