// Draws docs/schedulers.jpg: the demo checkpoint's pictures by every scheduler, one row each, from the same noise and with at most 20
// evaluations of the network. `node scripts/scheduler-grid.mjs --out grid.jpg --evaluations 10` draws another one.
import { createRequire } from "node:module";
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { runMain, setup } from "./setup.mjs";
import { inProject } from "./setup/paths.mjs";
import { Report } from "./setup/report.mjs";

const COLUMNS = 8;
const SEED = 3;
/** It goes from a picture to noise. */
const INVERSE = "ddim-inverse";
/** The pixels of a glyph's pixel. */
const SCALE = 2;

/** Letters of 3 x 5 pixels: a digit is a row, its bits the pixels. */
const GLYPHS = {
  ...{ a: "25755", c: "34443", d: "65556", e: "74647", g: "34553", h: "55755", i: "72227", l: "44447", m: "57755" },
  ...{ n: "65555", o: "25552", p: "65644", r: "65655", s: "34216", t: "72222", u: "55557", v: "55552", x: "55255" },
  ...{ 0: "75557", 1: "26227", 2: "61247", 3: "61216", 4: "55711", 5: "74616", 6: "34656", 7: "71222", 8: "75757" },
  ...{ 9: "35316", "+": "02720", "-": "00700", " ": "00000" },
};

await runMain(async () => {
  const { values } = parseArgs({
    options: {
      out: { type: "string", default: "docs/schedulers.jpg" },
      evaluations: { type: "string", default: "20" },
    },
  });
  const report = new Report();
  await setup({ report });
  const require = createRequire(import.meta.url);
  const { LDMPipeline, makeGrid, Image } = require("../dist/index.js");
  const { availableSchedulers, makeScheduler } = require("../dist/cli/scheduler-names.js");

  const pipe = await LDMPipeline.fromPretrained(inProject("models/demo"));
  const { config } = pipe.scheduler;
  const cells = [];
  for (const name of availableSchedulers().filter((name) => name !== INVERSE)) {
    await report.part(name, async (say) => {
      say("denoising");
      pipe.scheduler = makeScheduler(name, config);
      const steps = stepsFor(pipe.scheduler, Number(values.evaluations));
      const evaluations = pipe.scheduler.timesteps.length;
      const { images } = await pipe.generate({ batchSize: COLUMNS, numInferenceSteps: steps, seed: SEED });
      cells.push(label(Image, images[0], [...breakName(name), "", `${evaluations} x`]), ...images);
      return { result: `${steps} steps, ${evaluations} evaluations` };
    });
  }
  const grid = makeGrid(cells, { columns: COLUMNS + 1, gap: 2, background: [255, 255, 255] });
  await grid.save(resolve(values.out), { quality: 85 });
  report.write(`  wrote ${values.out}, ${grid.width}x${grid.height}`);
});

/** Set the most steps whose evaluations are not more than wanted. */
function stepsFor(scheduler, wanted) {
  for (let steps = wanted; steps > 0; steps--) {
    scheduler.setTimesteps(steps);
    if (scheduler.timesteps.length <= wanted) return steps;
  }
  throw new Error(`${scheduler.className} has no run of at most ${wanted} evaluations`);
}

/** Break a name after hyphens into lines of at most 8 letters. */
function breakName(name) {
  const lines = [""];
  for (const part of name.split(/(?<=-)/)) {
    const joined = lines.at(-1) + part;
    if (joined.length <= 8) lines[lines.length - 1] = joined;
    else lines.push(part);
  }
  return lines;
}

/** An image of the size of another one, with lines of text. */
function label(Image, { width, height, channels }, lines) {
  const data = new Uint8Array(width * height * channels).fill(255);
  for (const [row, line] of lines.entries())
    for (const [column, letter] of [...line].entries())
      for (const [y, bits] of [...GLYPHS[letter]].entries())
        for (let x = 0; x < 3; x++)
          if (Number(bits) & (4 >> x)) dot(2 + (column * 4 + x) * SCALE, 8 + (row * 7 + y) * SCALE);
  return Image.from(data, { width, height, channels });

  function dot(left, top) {
    for (let y = top; y < top + SCALE; y++)
      data.fill(0, (y * width + left) * channels, (y * width + left + SCALE) * channels);
  }
}
