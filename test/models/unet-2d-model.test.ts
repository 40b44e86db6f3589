import { readFileSync } from "node:fs";
import { join } from "node:path";
import { inspect } from "node:util";
import t, { type Test } from "tap";
import { Generator, Tensor } from "../../lib/index.js";
import type { UNet2DConfigKeys } from "../../lib/models/unet-2d/config.js";
import { UNet2DModel } from "../../lib/models/unet-2d/model.js";
import { SafetensorsFile, writeSafetensors } from "../../lib/checkpoint/safetensors.js";
import { caseNames, compareCase } from "../support/network-cases.js";
import { bits } from "../support/bits.js";

const FIXTURES = join(__dirname, "..", "fixtures", "networks");
const SMALL = {
  block_out_channels: [8, 16],
  norm_num_groups: 4,
  attention_head_dim: 4,
  layers_per_block: 1,
  down_block_types: ["DownBlock2D", "AttnDownBlock2D"],
  up_block_types: ["AttnUpBlock2D", "UpBlock2D"],
} as const satisfies Partial<UNet2DConfigKeys>;
const TWO_SKIPS = {
  ...SMALL,
  down_block_types: ["SkipDownBlock2D", "SkipDownBlock2D"],
  up_block_types: ["SkipUpBlock2D", "SkipUpBlock2D"],
};

t.test("makes what diffusers made", async (t) => {
  const names = caseNames(FIXTURES, "unet-");
  t.ok(names.length >= 3, "the goldens are there");
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
    "CrossAttnDownBlock2D",
    "SimpleCrossAttnDownBlock2D",
    "KCrossAttnDownBlock2D",
    "DownEncoderBlock2D",
    "AttnDownEncoderBlock2D",
    "NoBlock",
  ].map((name) => ["down_block_types", { down_block_types: [name, "DownBlock2D"] }] as const),
  ...[
    "CrossAttnUpBlock2D",
    "SimpleCrossAttnUpBlock2D",
    "KCrossAttnUpBlock2D",
    "UpDecoderBlock2D",
    "AttnUpDecoderBlock2D",
  ].map((name) => ["up_block_types", { up_block_types: ["UpBlock2D", name] }] as const),
  ["up_block_types", { block_out_channels: [32, 32], up_block_types: ["KUpBlock2D", "KUpBlock2D"] }],
  ["up_block_types", { block_out_channels: [32, 32], down_block_types: ["KDownBlock2D", "KDownBlock2D"] }],
  ["up_block_types", { down_block_types: TWO_SKIPS.down_block_types, up_block_types: ["SkipUpBlock2D", "UpBlock2D"] }],
  ["in_channels", { ...TWO_SKIPS, in_channels: 4, out_channels: 4 }],
  ["out_channels", { ...TWO_SKIPS, out_channels: 4 }],
  ["resnet_time_scale_shift", { resnet_time_scale_shift: "spatial" }],
  ["resnet_time_scale_shift", { resnet_time_scale_shift: "ada_group" }],
  ["layers_per_block", { layers_per_block: 0 }],
  ["layers_per_block", { layers_per_block: 1e9 }],
  ["block_out_channels", { block_out_channels: Array(100_000).fill(32) }],
  ["layers_per_block", { layers_per_block: [1, 2] }],
  ["norm_num_groups", { norm_num_groups: null }],
  ["norm_num_groups", { norm_num_groups: 3 }],
  ["attn_norm_num_groups", { attn_norm_num_groups: 3 }],
  ["num_train_timesteps", { time_embedding_type: "learned" }],
  ["time_embedding_type", { time_embedding_type: "sinus" }],
  ["downsample_padding", { downsample_padding: 2 }],
  ["downsample_type", { downsample_type: "pool" }],
  ["upsample_type", { upsample_type: "bilinear" }],
  ["mid_block_type", { mid_block_type: "UNetMidBlock2DCrossAttn" }],
  ["mid_block_type", { mid_block_type: "nothing" }],
  ["class_embed_type", { class_embed_type: "projection" }],
  ["act_fn", { act_fn: 'silu); torch.save(self, "x' }],
  ["attention_head_dim", { attention_head_dim: 17 }],
  ["attention_head_dim", { attention_head_dim: 0 }],
  ["block_out_channels", { block_out_channels: [8, 16, 16] }],
  ["block_out_channels", { block_out_channels: [] }],
  ["block_out_channels", { block_out_channels: [8.5, 16] }],
  ["block_out_channels", { ...TWO_SKIPS, block_out_channels: [9, 18], norm_num_groups: 3 }],
  ["in_channels", { in_channels: "3" }],
  ["dropout", { dropout: 2 }],
  ["norm_eps", { norm_eps: NaN }],
  ["sample_size", { sample_size: [8] }],
  ["center_input_sample", { center_input_sample: 1 }],
];

t.test("refuses what cannot run, naming key and value, before any work", async (t) => {
  for (const [key, config] of REFUSED) {
    const error: unknown = await UNet2DModel.fromConfig({ ...SMALL, ...config }).then(
      (model) => model,
      (reason: unknown) => reason,
    );
    // Lengths that disagree may be told of the list that is compared.
    const named =
      key === "block_out_channels" ? /block_out_channels/ : new RegExp(`for ${key}(\\[\\d\\])? but received `);
    t.match(
      error,
      { code: "ERR_CONFIG_UNSUPPORTED", message: named },
      `${JSON.stringify(config)}: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
  await t.rejects(UNet2DModel.fromConfig({ ...SMALL, act_fn: "tanh" }), {
    message: 'Expected one of "swish", "silu", "mish", "gelu", "relu" for act_fn but received "tanh" of type string',
  });
});

t.test("config: defaults, frozen, unknown keys", async (t) => {
  const model = await UNet2DModel.fromConfig(SMALL);
  const saved = JSON.parse(readFileSync(join(FIXTURES, "unet-plain", "model", "config.json"), "utf8")) as Record<
    string,
    unknown
  >;
  const keys = Object.keys(saved)
    .filter((key) => !key.startsWith("_"))
    .sort();
  const found = Object.keys(model.config).filter((key) => !key.startsWith("_"));
  t.strictSame(found.sort(), keys, "every key that diffusers 0.42.1 writes is filled in");
  const own = Object.entries(saved).filter(([key]) => !key.startsWith("_") && key !== "sample_size");
  t.match(model.config, Object.fromEntries(own), "with diffusers' defaults");
  t.equal(model.config.sample_size, null);
  t.ok(Object.isFrozen(model.config) && Object.isFrozen(model.config.block_out_channels));
  await t.rejects(UNet2DModel.fromConfig({ ...SMALL, layer_per_block: 2 }), {
    code: "ERR_INVALID_ARGUMENT",
    message: /"layer_per_block".*did you mean "layers_per_block"/,
  });
  await t.rejects(UNet2DModel.fromConfig({ ...SMALL, _class_name: "VQModel" }), {
    code: "ERR_CONFIG_UNSUPPORTED",
    message: /_class_name/,
  });
  await t.rejects(UNet2DModel.fromConfig(SMALL, { seed: 1 } as never), {
    code: "ERR_INVALID_ARGUMENT",
    message: /"seed"/,
  });
  const again = await UNet2DModel.fromConfig({ ...saved, from_elsewhere: { list: [1] } });
  t.strictSame(again.config.from_elsewhere, { list: [1] }, "a file's keys of other classes are kept");
  t.strictSame((await UNet2DModel.fromConfig(again.config)).config, again.config, "a model's config is a config");
});

t.test("fromConfig draws PyTorch's initial weights from the generator", async (t) => {
  const wide = {
    ...SMALL,
    block_out_channels: [32, 32],
    num_class_embeds: 500,
    time_embedding_type: "fourier",
  } as const;
  const model = await UNet2DModel.fromConfig(wide, { generator: Generator.fromSeed(3) });
  const weights = await read(model);
  t.strictSame(
    weights,
    await read(await UNet2DModel.fromConfig(wide, { generator: Generator.fromSeed(3) })),
    "the same seed, the same weights",
  );
  t.notSame(weights["conv_out.weight"], (await read(await UNet2DModel.fromConfig(wide)))["conv_out.weight"]);
  uniform(t, "conv_out.weight", weights, 1 / Math.sqrt(32 * 9));
  uniform(t, "conv_out.bias", weights, 1 / Math.sqrt(32 * 9), 3);
  uniform(t, "time_embedding.linear_2.weight", weights, 1 / Math.sqrt(128));
  t.ok(
    weights["conv_norm_out.weight"]?.every((value) => value === 1) &&
      weights["conv_norm_out.bias"]?.every((value) => value === 0),
  );
  normal(t, "class_embedding.weight", weights, 1, 0.02);
  normal(t, "time_proj.weight", weights, 16, 8);
  await t.rejects(UNet2DModel.fromConfig(SMALL, { generator: 7 as never }), {
    code: "ERR_INVALID_ARGUMENT",
    message: /generator/,
  });
});

type Values = Record<string, number[]>;

async function read(model: UNet2DModel): Promise<Values> {
  const entries = [...(model.module.weights ?? [])].map(
    async ([name, weight]) => [name, Array.from(await (weight as Tensor).data(), Number)] as const,
  );
  return Object.fromEntries(await Promise.all(entries));
}

function uniform(t: Test, name: string, weights: Values, bound: number, least = 100): void {
  const values = weights[name] ?? [];
  const largest = Math.max(...values.map(Math.abs));
  t.ok(
    values.length >= least && largest <= bound && largest > 0.3 * bound,
    `${name}: ${values.length} values up to ${largest}, bound ${bound}`,
  );
}

function normal(t: Test, name: string, weights: Values, deviation: number, margin: number): void {
  const values = weights[name] ?? [];
  const measured = Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length);
  t.ok(Math.abs(measured - deviation) < margin, `${name}: deviation ${measured}`);
}

t.test("forward checks its input before any work", async (t) => {
  const model = await UNet2DModel.fromConfig(SMALL);
  const x = Generator.fromSeed(0).randn([2, 3, 8, 8]);
  const refused: readonly (readonly [RegExp, () => Promise<unknown>])[] = [
    [
      /Expected a Tensor for sample but received an instance of Float32Array/,
      () => model.forward(new Float32Array(3) as never, 1),
    ],
    [
      /\[batch, 3, height, width\] for sample but received \[2, 4, 8, 8\]/,
      () => model.forward(Generator.fromSeed(0).randn([2, 4, 8, 8]), 1),
    ],
    [
      /multiple of 2 for the width of sample but received 7/,
      () => model.forward(Generator.fromSeed(0).randn([2, 3, 8, 7]), 1),
    ],
    [
      /float32 tensor, as the model computes, for sample but received float64/,
      async () => model.forward(await x.to("float64"), 1),
    ],
    [/timestep but received undefined/, () => model.forward(x, undefined as never)],
    [/timestep but received NaN/, () => model.forward(x, NaN)],
    [/shape \[\], \[1\] or \[2\] for timestep but received \[3\]/, () => model.forward(x, Tensor.from([1, 2, 3]))],
    [/no classLabels/, () => model.forward(x, 1, { classLabels: Tensor.from([1, 2]) })],
    [
      /Unknown option "class_labels".*did you mean "classLabels"/,
      () => model.forward(x, 1, { class_labels: x } as never),
    ],
  ];
  for (const [message, call] of refused) await t.rejects(call(), { code: "ERR_INVALID_ARGUMENT", message });
  const classes = await UNet2DModel.fromConfig({ ...SMALL, num_class_embeds: 3 });
  await t.rejects(classes.forward(x, 1), { message: /classLabels but received undefined/ });
  await t.rejects(classes.forward(x, 1, { classLabels: Tensor.from([1, 2]) }), {
    message: /int64 tensor for classLabels but received float32/,
  });
  await t.rejects(classes.forward(x, 1, { classLabels: Tensor.from(new BigInt64Array(3)) }), {
    message: /\[2\] for classLabels but received \[3\]/,
  });
  const learned = await UNet2DModel.fromConfig({ ...SMALL, time_embedding_type: "learned", num_train_timesteps: 10 });
  await t.rejects(learned.forward(x, 10), { message: /from 0 to 9 for timestep but received 10/ });
  await t.rejects(learned.forward(x, 0.5), { message: /whole number .* for timestep but received 0.5/ });
  const k = await UNet2DModel.fromConfig({
    ...SMALL,
    block_out_channels: [32, 32],
    down_block_types: ["KDownBlock2D", "KDownBlock2D"],
    up_block_types: ["KUpBlock2D", "KUpBlock2D"],
  });
  await t.rejects(k.forward(Generator.fromSeed(0).randn([1, 3, 4, 2]), 1), {
    message: /multiple of 2 of at least 4 for the width of sample but received 2/,
  });
});

t.test("a timestep is a number or a tensor", async (t) => {
  const model = await UNet2DModel.fromPretrained(join(FIXTURES, "unet-plain", "model"), { optimize: false });
  const x = Generator.fromSeed(0).randn([2, 3, 8, 8]);
  const at = async (timestep: number | Tensor): Promise<unknown> => bits((await model.forward(x, timestep)).sample);
  const seven = await at(7);
  t.same(await at(Tensor.from(BigInt64Array.of(7n), [])), seven);
  t.same(await at(Tensor.from([7, 7])), seven);
  const half = await at(7.5);
  t.notSame(half, seven, "a fraction is not cut off");
  t.same(await at(Tensor.from([7.5])), half);
});

t.test("abort", async (t) => {
  const model = await UNet2DModel.fromConfig(SMALL);
  const x = Generator.fromSeed(0).randn([1, 3, 8, 8]);
  await t.rejects(model.forward(x, 1, { signal: AbortSignal.abort("enough") }), {
    name: "AbortError",
    code: "ERR_ABORTED",
    cause: "enough",
  });
  t.ok((await model.forward(x, 1)).sample, "and goes on");
});

t.test("save and load", async (t) => {
  const source = join(FIXTURES, "unet-plain", "model");
  const model = await UNet2DModel.fromPretrained(source, { optimize: false });
  const x = Generator.fromSeed(0).randn([1, 3, 8, 8]);
  const expected = await bits((await model.forward(x, 3)).sample);
  const folder = t.testdir({});
  await model.savePretrained(join(folder, "unet"), { maxShardSize: 100_000 });
  const again = await UNet2DModel.fromPretrained(folder, { subfolder: "unet", optimize: false });
  t.same(await bits((await again.forward(x, 3)).sample), expected);
  t.strictSame(again.config, model.config);
  await again.savePretrained(join(folder, "unet"), { dtype: "float16", variant: "fp16" });
  t.ok(
    (await UNet2DModel.fromPretrained(join(folder, "unet"), { variant: "fp16" })).dtype === "float32",
    "float16 files compute in float32",
  );
  model.dispose();
  t.ok(model.disposed && inspect(model) === "UNet2DModel(disposed)");
  model.dispose();
  await t.rejects(model.forward(x, 3), { code: "ERR_DISPOSED" });
  await t.rejects(model.savePretrained(folder), { code: "ERR_DISPOSED" });
  await t.rejects(UNet2DModel.fromPretrained(join(folder, "nowhere")), { code: "ERR_CHECKPOINT_NOT_FOUND" });
  await t.rejects(UNet2DModel.fromPretrained(join(FIXTURES, "vq-lookup", "model")), {
    code: "ERR_CONFIG_UNSUPPORTED",
    message: /_class_name/,
  });
});

t.test(
  "old names of attention weights are read; missing, unexpected and misshapen tensors are told in one error",
  async (t) => {
    const source = join(FIXTURES, "unet-plain", "model");
    const expected = await UNet2DModel.fromPretrained(source, { optimize: false });
    const file = await SafetensorsFile.open(join(source, "diffusion_pytorch_model.safetensors"));
    t.teardown(() => file.dispose());
    const old = new Map(
      [...file.tensors].map(([name, tensor]) => [
        name
          .replace(".to_q.", ".query.")
          .replace(".to_k.", ".key.")
          .replace(".to_v.", ".value.")
          .replace(".to_out.0.", ".proj_attn."),
        tensor,
      ]),
    );
    const folder = t.testdir({ "config.json": readFileSync(join(source, "config.json"), "utf8") });
    const path = join(folder, "diffusion_pytorch_model.safetensors");
    await writeSafetensors(path, old);
    const x = Generator.fromSeed(0).randn([1, 3, 8, 8]);
    const loaded = await UNet2DModel.fromPretrained(folder, { optimize: false });
    t.same(await bits((await loaded.forward(x, 3)).sample), await bits((await expected.forward(x, 3)).sample));
    const broken = new Map(file.tensors);
    broken.delete("conv_in.bias");
    broken.set("conv_in.extra", file.tensors.get("conv_out.bias") as never);
    broken.set("conv_out.bias", file.tensors.get("conv_norm_out.bias") as never);
    await writeSafetensors(path, broken);
    await t.rejects(UNet2DModel.fromPretrained(folder), {
      code: "ERR_CHECKPOINT_INVALID",
      message:
        /missing \(1\): conv_in.bias[^]*unexpected \(1\): conv_in.extra[^]*misshapen \(1\): conv_out.bias \(expected \[3\] but received \[8\]\)/,
    });
  },
);

t.test("to moves in place, and not at all if it cannot", async (t) => {
  const model = await UNet2DModel.fromPretrained(join(FIXTURES, "unet-plain", "model"), { optimize: false });
  const x = Generator.fromSeed(0).randn([1, 3, 8, 8]);
  const expected = await bits((await model.forward(x, 3)).sample);
  t.equal(await model.to("bfloat16"), model);
  t.equal((await model.forward(await x.to("bfloat16"), 3)).sample.dtype, "bfloat16");
  await model.to("cpu", "float32");
  t.same(await bits((await model.forward(x, 3)).sample), expected, "the weights are not rounded on the way");
  await t.rejects(model.to("cuda:99"), { code: "ERR_DEVICE_UNAVAILABLE" });
  await t.rejects(model.to("int64" as never), { code: "ERR_INVALID_ARGUMENT" });
  t.same(await bits((await model.forward(x, 3)).sample), expected, "the old state stands");
  await model.to({ optimize: true });
  t.ok(model.optimize);
});
