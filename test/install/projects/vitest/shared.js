import { createHash } from "node:crypto";
import { createRequire } from "node:module";
import { dirname } from "node:path";

export async function makePicture({ Generator, LDMPipeline }) {
  const demo = dirname(createRequire(import.meta.url).resolve("@latent-diffusion/demo/package.json"));
  const pipe = await LDMPipeline.fromPretrained(demo);
  const { images } = await pipe.generate({ numInferenceSteps: 4, generator: Generator.fromSeed(0) });
  return createHash("sha256").update(images[0].data).digest("hex");
}

/** Typed arrays and signals here may be of another realm than the library's, and so may Error. */
export async function checkRealm({ Generator, Image, LatentDiffusionError, LDMPipeline, Tensor }) {
  const tensor = Tensor.from(Float32Array.of(1, 2, 3), [3]);
  if (tensor.dataSync()[2] !== 3) throw new Error("Expected the tensor to hold 3");
  Image.from(new Uint8Array(12), { width: 2, height: 2, channels: 3 });
  const generator = Generator.fromSeed(1);
  generator.setState(Uint8Array.from(generator.getState()));
  const aborted = new AbortController();
  aborted.abort();
  const demo = dirname(createRequire(import.meta.url).resolve("@latent-diffusion/demo/package.json"));
  const pipe = await LDMPipeline.fromPretrained(demo);
  const error = await pipe.generate({ signal: aborted.signal }).catch((reason) => reason);
  if (error.code !== "ERR_ABORTED") throw new Error(`Expected ERR_ABORTED but received ${error.stack}`);
  try {
    Tensor.from(Float32Array.of(1, 2, 3), [4]);
  } catch (error) {
    if (typeof error.stack === "string" && error.code === "ERR_INVALID_ARGUMENT") return;
    throw error;
  }
  throw new Error(`Expected a ${LatentDiffusionError.name}`);
}
