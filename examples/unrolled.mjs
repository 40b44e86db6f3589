// The denoising loop in your own hands:   node examples/unrolled.mjs [checkpoint folder] [picture to write]
import { DDIMScheduler, Generator, Image, op, UNet2DModel, VQModel } from "latent-diffusion";

const [checkpoint = "models/demo", output = "unrolled.png"] = process.argv.slice(2);
const unet = await UNet2DModel.fromPretrained(checkpoint, { subfolder: "unet" });
const vqvae = await VQModel.fromPretrained(checkpoint, { subfolder: "vqvae" });
const scheduler = await DDIMScheduler.fromPretrained(checkpoint, { subfolder: "scheduler" });

scheduler.setTimesteps(10);
const { in_channels, sample_size } = unet.config;
const noise = Generator.fromSeed(0).randn([1, in_channels, sample_size, sample_size]);
let latents = op("mul.Scalar", noise, scheduler.initNoiseSigma);
for (const timestep of scheduler.timesteps) {
  const { sample } = await unet.forward(scheduler.scaleModelInput(latents, timestep), timestep);
  latents = scheduler.step(sample, timestep, latents, { eta: 0 }).prevSample;
}
const { sample } = await vqvae.decode(op("div.Scalar", latents, vqvae.config.scaling_factor));

const [, , height, width] = sample.shape;
const bytes = op("clamp", op("round", op("add.Scalar", op("mul.Scalar", sample, 127.5), 127.5)), 0, 255);
const pixels = op("to.dtype", op("permute", op("select.int", bytes, 0, 0), [1, 2, 0]), "uint8");
await Image.from(await pixels.data(), { width, height }).save(output);
console.log(`wrote ${output}, ${width} x ${height}`);
