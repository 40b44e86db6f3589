const { createHash } = require("node:crypto");
const { dirname } = require("node:path");
const library = require("latent-diffusion");

const demo = dirname(require.resolve("@latent-diffusion/demo/package.json"));

test("typed arrays and signals of this realm are taken", async () => {
  const { Generator, Image, LDMPipeline, Tensor } = library;
  expect(Tensor.from(Float32Array.of(1, 2, 3), [3]).dataSync()[2]).toBe(3);
  Image.from(new Uint8Array(12), { width: 2, height: 2, channels: 3 });
  const generator = Generator.fromSeed(1);
  generator.setState(Uint8Array.from(generator.getState()));
  const aborted = new AbortController();
  aborted.abort();
  const pipe = await LDMPipeline.fromPretrained(demo);
  await expect(pipe.generate({ signal: aborted.signal })).rejects.toMatchObject({ code: "ERR_ABORTED" });
});

test("errors of the addon are this library's, with a stack", () => {
  const { LatentDiffusionError, op, Tensor } = library;
  const [two, three] = [2, 3].map((length) => Tensor.from(new Float32Array(length), [length]));
  let caught;
  try {
    op("add.Tensor", two, three);
  } catch (error) {
    caught = error;
  }
  expect(caught).toBeInstanceOf(LatentDiffusionError);
  expect(caught.stack).toContain("face.test.js");
});

test("a picture", async () => {
  const { Generator, LDMPipeline } = library;
  const pipe = await LDMPipeline.fromPretrained(demo);
  const { images } = await pipe.generate({ numInferenceSteps: 4, generator: Generator.fromSeed(0) });
  process.stdout.write(`picture ${createHash("sha256").update(images[0].data).digest("hex")}\n`);
});

test("twelve copies after resetModules: no warning, and their objects mix", () => {
  const warnings = [];
  process.on("warning", (warning) => warnings.push(String(warning)));
  const first = library.Tensor.from(Float32Array.of(1), [1]);
  for (let copy = 0; copy < 12; copy++) {
    jest.resetModules();
    const again = require("latent-diffusion");
    expect(again.Tensor).not.toBe(library.Tensor);
    expect(again.op("add.Tensor", again.Tensor.from(Float32Array.of(1), [1]), first).dataSync()[0]).toBe(2);
  }
  return new Promise((resolve) => setTimeout(resolve, 10)).then(() => expect(warnings).toEqual([]));
});
