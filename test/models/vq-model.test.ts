import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { Generator, op, type Tensor } from "../../lib/index.js";
import { completeVQConfig, type VQConfigKeys } from "../../lib/models/vq/config.js";
import { VQModel } from "../../lib/models/vq/model.js";
import type { JsonObject } from "../../lib/files/json.js";
import { Tensor as TensorClass } from "../../lib/torch/tensor.js";
import { bits } from "../support/bits.js";
import { caseNames, compareCase } from "../support/network-cases.js";

const FIXTURES = join(__dirname, "..", "fixtures", "networks");
const SMALL = {
  block_out_channels: [8, 16],
  norm_num_groups: 4,
  num_vq_embeddings: 30,
  down_block_types: ["DownEncoderBlock2D", "DownEncoderBlock2D"],
  up_block_types: ["UpDecoderBlock2D", "UpDecoderBlock2D"],
} as const satisfies Partial<VQConfigKeys>;

t.test("makes what diffusers made", async (t) => {
  const names = caseNames(FIXTURES, "vq-");
  t.ok(names.length >= 2, "the goldens are there");
  for (const name of names) {
    await t.test(name, (t) => compareCase(t, join(FIXTURES, name), { tolerance: 1e-4, optimize: false }));
    await t.test(`${name}, optimised`, (t) =>
      compareCase(t, join(FIXTURES, name), { tolerance: 1e-4, optimize: true }),
    );
  }
});

/** What diffusers cannot construct, cannot run, or takes in silence and ignores: each alone in a config that runs without it. */
const REFUSED: readonly (readonly [key: string, config: object])[] = [
  ...[
    "DownBlock2D",
    "AttnDownBlock2D",
    "ResnetDownsampleBlock2D",
    "SkipDownBlock2D",
    "KDownBlock2D",
    "CrossAttnDownBlock2D",
    "NoBlock",
  ].map((name) => ["down_block_types", { down_block_types: [name, "DownEncoderBlock2D"] }] as const),
  ...["UpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D", "SkipUpBlock2D", "KUpBlock2D", "CrossAttnUpBlock2D"].map(
    (name) => ["up_block_types", { up_block_types: ["UpDecoderBlock2D", name] }] as const,
  ),
  ["down_block_types", { down_block_types: ["DownEncoderBlock2D"] }],
  ["up_block_types", { up_block_types: ["UpDecoderBlock2D"] }],
  ["up_block_types", { up_block_types: ["UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D"] }],
  ["norm_type", { norm_type: "layer" }],
  ["norm_type", { norm_type: "default" }],
  ["vq_embed_dim", { norm_type: "spatial", block_out_channels: [32, 64], vq_embed_dim: 4 }],
  ["block_out_channels", { norm_type: "spatial", block_out_channels: [8, 16] }],
  ["norm_num_groups", { norm_num_groups: 3 }],
  ["norm_num_groups", { norm_num_groups: null }],
  ["layers_per_block", { layers_per_block: 0 }],
  ["act_fn", { act_fn: "elu" }],
  ["scaling_factor", { scaling_factor: 0 }],
  ["scaling_factor", { scaling_factor: null }],
  ["num_vq_embeddings", { num_vq_embeddings: 0 }],
  ["mid_block_add_attention", { mid_block_add_attention: "yes" }],
];

t.test("refuses what cannot run, naming key and value, before any work", async (t) => {
  for (const [key, config] of REFUSED) {
    const error: unknown = await VQModel.fromConfig({ ...SMALL, ...config }).then(
      (model) => model,
      (reason: unknown) => reason,
    );
    const message = new RegExp(`for ${key}(\\[\\d\\])? but received `);
    t.match(
      error,
      { code: "ERR_CONFIG_UNSUPPORTED", message },
      `${JSON.stringify(config)}: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
});

t.test("config: defaults, unknown keys, the scaling factor of old files", async (t) => {
  const model = await VQModel.fromConfig(SMALL);
  const saved = JSON.parse(readFileSync(join(FIXTURES, "vq-attention", "model", "config.json"), "utf8")) as Record<
    string,
    unknown
  >;
  const keys = Object.keys(saved)
    .filter((key) => !key.startsWith("_"))
    .sort();
  const own = Object.keys(model.config).filter((key) => !key.startsWith("_"));
  t.strictSame(own.sort(), keys, "every key that diffusers 0.42.1 writes is filled in");
  t.equal(model.config.scaling_factor, 0.18215, "a config written by hand has diffusers' default");
  await t.rejects(VQModel.fromConfig({ ...SMALL, latent_channel: 4 }), {
    code: "ERR_INVALID_ARGUMENT",
    message: /did you mean "latent_channels"/,
  });
  const old = Object.fromEntries(Object.entries(saved).filter(([key]) => key !== "scaling_factor"));
  t.equal(
    (await VQModel.fromConfig(old as JsonObject)).config.scaling_factor,
    1,
    "a file that is older than the key means 1",
  );
  t.equal((await VQModel.fromConfig({ ...old, scaling_factor: 0.5 })).config.scaling_factor, 0.5);
  const folder = t.testdir({});
  const source = await VQModel.fromPretrained(join(FIXTURES, "vq-attention", "model"));
  t.equal(source.config.scaling_factor, 0.18215, "the key where the file has it");
  await source.savePretrained(join(folder, "old"));
  writeFileSync(join(folder, "old", "config.json"), JSON.stringify(old));
  const loaded = await VQModel.fromPretrained(folder, { subfolder: "old" });
  t.equal(loaded.config.scaling_factor, 1);
  await loaded.savePretrained(join(folder, "again"));
  const written = JSON.parse(readFileSync(join(folder, "again", "config.json"), "utf8")) as Record<string, unknown>;
  t.equal(written.scaling_factor, 1, "saving always writes it: Python would read 0.18215");
  const { _class_name: _, ...nameless } = old;
  writeFileSync(join(folder, "old", "config.json"), JSON.stringify({ ...nameless, foreign: 7 }));
  const byHand = await VQModel.fromPretrained(folder, { subfolder: "old" });
  t.match(
    byHand.config,
    { scaling_factor: 1, foreign: 7 },
    "what lies in a file is a file's, whether it names its class or not",
  );
  await byHand.savePretrained(join(folder, "again"));
  t.match(JSON.parse(readFileSync(join(folder, "again", "config.json"), "utf8")), {
    _class_name: "VQModel",
    foreign: 7,
  });
});

t.test("a fresh codebook lies within 1/n, as in diffusers", async (t) => {
  const model = await VQModel.fromConfig(SMALL, { generator: Generator.fromSeed(1) });
  const codes = await (model.module.weights?.get("quantize.embedding.weight") as Tensor).data();
  const largest = Math.max(...Array.from(codes, Number).map(Math.abs));
  t.ok(codes.length === 90 && largest <= 1 / 30 && largest > 0.9 / 30, `largest ${largest}`);
});

t.test("the stages of decoding are decode, bit for bit, and forward is both", async (t) => {
  for (const norm_type of ["group", "spatial"] as const) {
    const model = await VQModel.fromConfig(
      { ...SMALL, norm_type, block_out_channels: [32, 32] },
      { optimize: false, generator: Generator.fromSeed(2) },
    );
    const z = Generator.fromSeed(3).randn([2, 3, 4, 6]);
    const { sample } = await model.decode(z);
    t.strictSame(sample.shape, [2, 3, 8, 12]);
    t.same(await bits(sample), await bits((await model.module.call("decode", [z])) as Tensor), norm_type);
    const x = Generator.fromSeed(4).randn([2, 3, 8, 8]);
    const { latents } = await model.encode(x);
    t.same(await bits((await model.forward(x)).sample), await bits((await model.decode(latents)).sample));
    t.notSame(
      await bits(sample),
      await bits((await model.decode(z, { forceNotQuantize: true })).sample),
      "the quantiser acts",
    );
    t.notOk(z.disposed, "the caller's tensor stays");
  }
});

t.test("two moves in quick succession never meet a stage half way", async (t) => {
  const model = await VQModel.fromConfig(SMALL, { optimize: false });
  const call = model.module.call.bind(model.module);
  const dtypes: string[][] = [];
  model.module.call = async (method, args, ...rest) => {
    dtypes.push([model.dtype, ...args.map((arg) => (arg as Tensor).dtype)]);
    const result = await call(method, args, ...rest);
    if (method === "decode_start") await model.to("float64");
    return result;
  };
  const { to } = TensorClass.prototype;
  t.teardown(() => {
    TensorClass.prototype.to = to;
  });
  // The second tensor is on its way while the first has arrived: then the model moves again.
  let casts = 0;
  TensorClass.prototype.to = async function (this: Tensor, ...targets: Parameters<typeof to>) {
    const moved = await to.call(this, ...targets);
    if (++casts === 2) await model.to("bfloat16");
    return moved;
  } as typeof to;
  const { sample } = await model.decode(Generator.fromSeed(3).randn([1, 3, 4, 4]));
  t.equal(sample.dtype, "bfloat16");
  t.ok(
    dtypes.every((all) => new Set(all).size === 1),
    JSON.stringify(dtypes),
  );
});

t.test("random weights are the generator's numbers, in the order of the parameters", async (t) => {
  const model = await VQModel.fromConfig(SMALL, { generator: Generator.fromSeed(1) });
  const generator = Generator.fromSeed(1);
  const bound = 1 / Math.sqrt(27);
  for (const [name, shape] of [
    ["weight", [8, 3, 3, 3]],
    ["bias", [8]],
  ] as const) {
    const drawn = op("sub.Scalar", op("mul.Scalar", generator.rand(shape), 2 * bound), bound);
    const weight = model.module.weights?.get(`encoder.conv_in.${name}`) as Tensor;
    t.strictSame(weight.dataSync(), drawn.dataSync(), name);
  }
});

t.test("an abort takes effect between the stages of decoding", async (t) => {
  const model = await VQModel.fromConfig(SMALL);
  const controller = new AbortController();
  const call = model.module.call.bind(model.module);
  const called: string[] = [];
  model.module.call = async (method, ...rest) => {
    called.push(method);
    const result = await call(method, ...rest);
    if (method === "decode_start") controller.abort("enough");
    return result;
  };
  const z = Generator.fromSeed(3).randn([1, 3, 4, 4]);
  await t.rejects(model.decode(z, { signal: controller.signal }), { name: "AbortError", cause: "enough" });
  t.strictSame(called, ["quantize_latents", "decode_start", "decode_up_0"], "the later stages are not even queued");
  await t.rejects(model.encode(Generator.fromSeed(0).randn([1, 3, 8, 8]), { signal: controller.signal }), {
    name: "AbortError",
  });
});

t.test("checks its input before any work", async (t) => {
  const model = await VQModel.fromConfig({ ...SMALL, vq_embed_dim: 5 });
  const random = (shape: readonly number[]): Tensor => Generator.fromSeed(0).randn(shape);
  const refused: readonly (readonly [RegExp, () => Promise<unknown>])[] = [
    [/\[batch, 5, height, width\] for z but received \[1, 3, 4, 4\]/, () => model.decode(random([1, 3, 4, 4]))],
    [/\[batch, 3, height, width\] for x but received \[3, 8, 8\]/, () => model.encode(random([3, 8, 8]))],
    [/at least 2 for the height of x but received 1/, () => model.encode(random([1, 3, 1, 4]))],
    [
      /a boolean for forceNotQuantize but received 1/,
      () => model.decode(random([1, 5, 4, 4]), { forceNotQuantize: 1 as never }),
    ],
    [
      /Unknown option "force_not_quantize"/,
      () => model.decode(random([1, 5, 4, 4]), { force_not_quantize: true } as never),
    ],
  ];
  for (const [message, call] of refused) await t.rejects(call(), { code: "ERR_INVALID_ARGUMENT", message });
  const lookup = await VQModel.fromConfig({ ...SMALL, lookup_from_codebook: true });
  await t.rejects(lookup.decode(random([1, 3, 4, 4]), { forceNotQuantize: true }), {
    message: /int64 codes of shape \[batch, height, width\].* but received float32/,
  });
});

t.test("16-bit floats search few codes too", async (t) => {
  const model = await VQModel.fromConfig({ ...SMALL, num_vq_embeddings: 5 }, { dtype: "bfloat16" });
  const { sample } = await model.decode(Generator.fromSeed(0).randn([1, 3, 2, 2], { dtype: "bfloat16" }));
  t.equal(sample.dtype, "bfloat16");
  t.ok(Array.from(await sample.data(), Number).every(Number.isFinite));
});

t.test("keys that change nothing may hold anything, as in Python", (t) => {
  const config = completeVQConfig({ force_upcast: null, sample_size: "large" });
  t.strictSame([config.force_upcast, config.sample_size], [null, "large"]);
  t.end();
});
