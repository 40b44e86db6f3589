// What the default gives up for speed: node bench/quality.mjs [images] [steps]
// Latents, codes and pictures beside those of `optimize: false`, which are PyTorch's bit for bit; with the trained checkpoint of
// models/demo, and with the full-size network where `npm run bench` has made it.
import { closeSync, existsSync, openSync, readFileSync, readSync } from "node:fs";
import { createRequire } from "node:module";
import { inProject } from "../scripts/setup/paths.mjs";

const { Generator, LDMPipeline, runtimeInfo } = createRequire(import.meta.url)("../dist/index.js");
const IMAGES = Number(process.argv[2] ?? 4);
const STEPS = Number(process.argv[3] ?? 50);

/** The codebook [codes, channels] as it is stored, float32 or float16. */
function readCodebook(folder) {
  const file = openSync(`${folder}/vqvae/diffusion_pytorch_model.safetensors`);
  const read = (position, length) => {
    const bytes = Buffer.alloc(length);
    readSync(file, bytes, 0, length, position);
    return bytes;
  };
  const headerLength = Number(read(0, 8).readBigUInt64LE());
  const {
    dtype,
    shape,
    data_offsets: [begin, end],
  } = JSON.parse(read(8, headerLength))["quantize.embedding.weight"];
  const bytes = read(8 + headerLength + begin, end - begin);
  closeSync(file);
  const values = Float64Array.from({ length: shape[0] * shape[1] }, (_, i) =>
    dtype === "F32" ? bytes.readFloatLE(4 * i) : fromHalf(bytes.readUInt16LE(2 * i)),
  );
  return { values, shape };
}

function fromHalf(bits) {
  const exponent = (bits >> 10) & 31;
  const fraction = (bits & 1023) / 1024;
  return (bits >> 15 ? -1 : 1) * (exponent === 0 ? fraction * 2 ** -14 : (1 + fraction) * 2 ** (exponent - 15));
}

/** The nearest code of each pixel of `latents` [1, channels, height, width], in float64. */
function nearestCodes(latents, { values, shape: [codes, channels] }) {
  const pixels = latents.length / channels;
  return Int32Array.from({ length: pixels }, (_, pixel) => {
    let best = Infinity;
    let found = -1;
    for (let code = 0; code < codes; code++) {
      let distance = 0;
      for (let c = 0; c < channels; c++) distance += (latents[c * pixels + pixel] - values[code * channels + c]) ** 2;
      if (distance < best) [best, found] = [distance, code];
    }
    return found;
  });
}

/** The denoising loop, unrolled: the latents after the last step. */
async function denoise({ unet, scheduler }, seed) {
  const { in_channels: channels, sample_size: size } = unet.config;
  let latents = await Generator.fromSeed(seed).randn([1, channels, size, size]).to(unet.dtype);
  scheduler.setTimesteps(STEPS);
  for (const timestep of scheduler.timesteps) {
    const { sample } = await unet.forward(scheduler.scaleModelInput(latents, timestep), timestep);
    latents = scheduler.step(sample, timestep, latents).prevSample;
  }
  return latents;
}

async function decode({ vqvae }, latents) {
  const { sample } = await vqvae.decode(await latents.to(vqvae.dtype));
  return (await sample.data()).map((value) => Math.min(1, Math.max(0, value / 2 + 0.5)));
}

const largest = (a, b) => a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i])), 0);
const pixels = (image) => Uint8Array.from(image, (value) => Math.round(255 * value));
const psnr = (a, b) => -10 * Math.log10(a.reduce((sum, value, i) => sum + (value - b[i]) ** 2, 0) / a.length);
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

async function float32(folder, images) {
  const exact = await LDMPipeline.fromPretrained(folder, { optimize: false });
  const own = await LDMPipeline.fromPretrained(folder);
  const codebook = readCodebook(folder);
  const rows = [];
  for (let seed = 0; seed < images; seed++) {
    const [theirs, ours] = [await denoise(exact, seed), await denoise(own, seed)];
    const [a, b] = [await theirs.data(), await ours.data()];
    const [before, after] = [nearestCodes(a, codebook), nearestCodes(b, codebook)];
    // From the same latents, so with the same codes.
    const [plain, optimized] = [pixels(await decode(exact, theirs)), pixels(await decode(own, theirs))];
    rows.push({
      latents: largest(a, b),
      magnitude: largest(a, new Float32Array(a.length)),
      flips: before.filter((code, i) => code !== after[i]).length,
      image: largest(plain, optimized),
    });
  }
  exact.dispose();
  own.dispose();
  const worst = (key) => Math.max(...rows.map((row) => row[key]));
  console.log(
    `  float32: latents differ by at most ${worst("latents").toExponential(2)} (values up to ${worst("magnitude").toFixed(2)}); codes that flip, an image: ${rows.map(({ flips }) => flips).join(", ")} of ${codebook.shape[0]} kinds; pictures with the same codes by at most ${worst("image")}/255`,
  );
}

/** Against float32's pictures: ours, and PyTorch's own bfloat16. */
async function bfloat16(folder, images) {
  const pictures = [];
  for (const options of [{ optimize: false }, { dtype: "bfloat16" }, { dtype: "bfloat16", optimize: false }]) {
    const pipe = await LDMPipeline.fromPretrained(folder, options);
    const made = [];
    for (let seed = 0; seed < images; seed++) made.push(await decode(pipe, await denoise(pipe, seed)));
    pipe.dispose();
    pictures.push(made);
  }
  const [exact, own, eager] = pictures;
  const against = (made) => mean(made.map((picture, i) => psnr(picture, exact[i])));
  console.log(
    `  bfloat16: PSNR against float32 ${against(own).toFixed(2)} dB, of PyTorch's bfloat16 (optimize: false) ${against(eager).toFixed(2)} dB`,
  );
}

const cpu = existsSync("/proc/cpuinfo")
  ? /model name\s*: (.*)/.exec(readFileSync("/proc/cpuinfo", "utf8"))?.[1]
  : process.arch;
console.log(`${cpu}, ${runtimeInfo().cpuCapability}; ${STEPS} steps`);
console.log(`models/demo, ${IMAGES} images`);
await float32(inProject("models/demo"), IMAGES);
await bfloat16(inProject("models/demo"), IMAGES);
const full = inProject(".local/bench/full-size");
if (existsSync(`${full}/model_index.json`)) {
  console.log("the full-size network, random weights, 1 image");
  await float32(full, 1);
}
