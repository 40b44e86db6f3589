import { type Image, LDMPipeline, Tensor } from "latent-diffusion";

export async function main(folder: string): Promise<Image[]> {
  const pipe = await LDMPipeline.fromPretrained(folder, { dtype: "bfloat16" });
  const { images } = await pipe.generate({ batchSize: 2, numInferenceSteps: 4 });
  const resized: Buffer = await images[0]!.toSharp().resize(8, 8).png().toBuffer();
  // @ts-expect-error sharp's own types hold: `resize` takes no such option
  images[0]!.toSharp().resize({ widht: resized.length });
  // @ts-expect-error a misspelt option
  await pipe.generate({ batchsize: 2 });
  // @ts-expect-error not a dtype
  await LDMPipeline.fromPretrained(folder, { dtype: "int4" });
  // @ts-expect-error not a tensor
  const wrong: number = Tensor.from(Float32Array.of(1), [1]);
  return wrong ? images : [];
}
