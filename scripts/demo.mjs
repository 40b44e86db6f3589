// `npm run demo`: does what is missing, then writes demo.png, a grid of pictures from the checkpoint in models/demo/.
// `npm run demo -- --seed 7 --steps 25 --images 4 --out faces.png` asks for other ones.
import { createRequire } from "node:module";
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { runMain, setup } from "./setup.mjs";
import { SetupError } from "./setup/command.mjs";
import { inProject } from "./setup/paths.mjs";
import { ProgressBar } from "./setup/progress-bar.mjs";
import { Report } from "./setup/report.mjs";

await runMain(async () => {
  const { seed, steps, images: count, out, model } = readOptions();
  const begun = performance.now();
  const report = new Report();
  await setup({ report });
  // Not before setup: in a fresh clone this is what it makes.
  const { LDMPipeline, makeGrid, Generator } = createRequire(import.meta.url)("../dist/index.js");

  const pipe = await report.part("load", async (say) => {
    say(`loading ${model}`);
    return { result: `loaded ${model}`, value: await LDMPipeline.fromPretrained(inProject(model)) };
  });
  report.write(`  ${count} images from seed ${seed} in ${steps} steps of DDIM`);
  const request = { batchSize: count, numInferenceSteps: steps, generator: Generator.fromSeed(seed) };
  const { images, denoising, decoding } = await generate(pipe, request, report.stream);
  report.done("denoise", `${steps} steps, ${(denoising / steps).toFixed(3)} s each`, denoising);
  report.done("decode", `${count} images of ${images[0].width}x${images[0].height}`, decoding);
  await report.part("save", async (say) => {
    say(`writing ${out}`);
    const grid = makeGrid(images, { gap: 2 });
    await grid.save(resolve(out));
    return { result: `wrote ${out}, ${grid.width}x${grid.height}` };
  });
  report.done("all", "done; the same seed makes the same picture on this machine", (performance.now() - begun) / 1000);
});

function readOptions() {
  const { values } = parseArgs({
    options: {
      seed: { type: "string", default: "0" },
      steps: { type: "string", default: "50" },
      images: { type: "string", default: "16" },
      out: { type: "string", default: "demo.png" },
      model: { type: "string", default: "models/demo" },
    },
  });
  const whole = (name) => {
    const value = Number(values[name]);
    if (Number.isSafeInteger(value) && value >= (name === "seed" ? 0 : 1)) return value;
    throw new SetupError(
      `Expected a whole number for --${name} but received "${values[name]}"`,
      "For example: npm run demo -- --seed 7 --steps 25 --images 4",
    );
  };
  return { ...values, seed: whole("seed"), steps: whole("steps"), images: whole("images") };
}

/** @returns {Promise<{ images: import("../lib/index.js").Image[], denoising: number, decoding: number }>} both times in seconds */
async function generate(pipe, request, stream) {
  const bar = new ProgressBar(stream, request.numInferenceSteps);
  const begun = performance.now();
  let denoised = begun;
  let images;
  for await (const event of pipe.stream(request)) {
    if (event.images) images = event.images;
    else denoised = performance.now();
    bar.update(event.step);
  }
  bar.clear();
  return { images, denoising: (denoised - begun) / 1000, decoding: (performance.now() - denoised) / 1000 };
}
