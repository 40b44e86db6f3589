import t from "tap";
import { Generator } from "../../lib/torch/generator.js";
import type { Tensor } from "../../lib/torch/tensor.js";
import { native } from "../../lib/native/open.js";
import type { UNet2DConfigKeys } from "../../lib/models/unet-2d/config.js";
import { UNet2DModel } from "../../lib/models/unet-2d/model.js";
import { bits } from "../support/bits.js";

const SMALL: Partial<UNet2DConfigKeys> = {
  block_out_channels: [8, 16],
  norm_num_groups: 4,
  attention_head_dim: 4,
  layers_per_block: 1,
  down_block_types: ["DownBlock2D", "AttnDownBlock2D"],
  up_block_types: ["AttnUpBlock2D", "UpBlock2D"],
};
const CONFIGS: Record<string, Partial<UNet2DConfigKeys>> = {
  "one layer": SMALL,
  "two layers, three levels": {
    ...SMALL,
    block_out_channels: [8, 8, 16],
    layers_per_block: 2,
    down_block_types: ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D"],
    up_block_types: ["UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
  },
  "resampling by resnets": {
    ...SMALL,
    downsample_type: "resnet",
    upsample_type: "resnet",
    down_block_types: ["ResnetDownsampleBlock2D", "AttnDownBlock2D"],
    up_block_types: ["AttnUpBlock2D", "ResnetUpsampleBlock2D"],
  },
  "no middle block": { ...SMALL, mid_block_type: null },
  "fourier time": { ...SMALL, time_embedding_type: "fourier", center_input_sample: true },
};

/** The operators that a call runs, "aten::silu [1, 8, 8, 8]", with their counts. */
async function operatorsOf(run: () => Promise<unknown>): Promise<Map<string, number>> {
  native().profileOperators(true);
  await run();
  return new Map((native().profileOperators(false) ?? []).map(({ name, calls }) => [name, calls]));
}

for (const [name, config] of Object.entries(CONFIGS)) {
  for (const optimize of [false, true]) {
    t.test(`${name}, optimize: ${optimize}`, async (t) => {
      using unet = await UNet2DModel.fromConfig(config, { generator: Generator.fromSeed(1), optimize });
      using x = await Generator.draw(Generator.fromSeed(2), "randn", [2, 3, 8, 8]);
      using later = await Generator.draw(Generator.fromSeed(3), "randn", [2, 3, 8, 8]);
      using expected = (await unet.forward(x, 500)).sample;
      t.equal(unet.cacheBranches, 1 + totalResiduals(config), "one branch for each residual");
      for (let branch = 0; branch < unet.cacheBranches; branch++) {
        const whole = await unet.forwardCached(x, 500, { branch });
        const again = await unet.forwardCached(x, 500, { branch, features: whole.features });
        const other = await unet.forwardCached(later, 480, { branch, features: whole.features });
        t.strictSame(await bits(whole.sample), await bits(expected), `branch ${branch}: whole is forward`);
        t.strictSame(
          await bits(again.sample),
          await bits(expected),
          `branch ${branch}: its own features change nothing`,
        );
        t.equal(again.features, whole.features);
        t.notSame(await bits(other.sample), await bits((await unet.forward(later, 480)).sample), "others approximate");
        for (const tensor of [whole.sample, whole.features, again.sample, other.sample]) tensor.dispose();
      }
    });
  }
}

function totalResiduals({ block_out_channels = [], layers_per_block = 0 }: Partial<UNet2DConfigKeys>): number {
  return block_out_channels.length * (layers_per_block + 1) - 1;
}

t.test("with features, what lies between is not computed", async (t) => {
  const { "two layers, three levels": config = SMALL } = CONFIGS;
  using unet = await UNet2DModel.fromConfig(config, { optimize: false });
  using x = await Generator.draw(Generator.fromSeed(2), "randn", [1, 3, 16, 16]);
  const sizes = (counts: Map<string, number>): string[] =>
    [...counts.keys()].flatMap((name) => /^aten::conv2d .* (\d+)\]$/.exec(name)?.[1] ?? []);
  const layers = (counts: Map<string, number>): number =>
    [...counts].reduce((sum, [name, calls]) => sum + (name.startsWith("aten::conv2d ") ? calls : 0), 0);
  let before = 0;
  for (let branch = 0; branch < unet.cacheBranches; branch++) {
    using features: Tensor = (await unet.forwardCached(x, 500, { branch })).features;
    const counts = await operatorsOf(() => unet.forwardCached(x, 500, { branch, features }));
    t.ok(layers(counts) > before, `branch ${branch} computes more than the branch before`);
    before = layers(counts);
    if (branch > 0) continue;
    t.equal(layers(counts), 5, "conv_in, one resnet of two convolutions and a shortcut, conv_out");
    t.notOk(sizes(counts).includes("8"), "nothing at half the size");
  }
  const whole = await operatorsOf(() => unet.forward(x, 500));
  t.ok(layers(whole) > before, "and the whole network has more than any");
  t.ok(sizes(whole).includes("8"));
});

t.test("refuses what cannot be kept", async (t) => {
  using unet = await UNet2DModel.fromConfig(SMALL);
  using x = await Generator.draw(Generator.fromSeed(2), "randn", [1, 3, 16, 16]);
  using features = (await unet.forwardCached(x, 1)).features;
  using wide = await Generator.draw(Generator.fromSeed(2), "randn", [1, 3, 16, 32]);
  await t.rejects(unet.forwardCached(x, 1, { branch: 4 }), { message: /branch/, code: "ERR_INVALID_ARGUMENT" });
  await t.rejects(unet.forwardCached(x, 1, { branch: -1 }), { code: "ERR_INVALID_ARGUMENT" });
  await t.rejects(unet.forwardCached(x, 1, { features, branch: 3 }), { message: /features/ });
  await t.rejects(unet.forwardCached(wide, 1, { features }), { message: /\[1, 8, 16, 32\] for features/ });
  await t.rejects(unet.forwardCached(x, 1, { features: 1 as unknown as Tensor }), { message: /features/ });
  features.dispose();
  await t.rejects(unet.forwardCached(x, 1, { features }), { code: "ERR_DISPOSED" });
  using skips = await UNet2DModel.fromConfig({
    ...SMALL,
    down_block_types: ["SkipDownBlock2D", "SkipDownBlock2D"],
    up_block_types: ["SkipUpBlock2D", "SkipUpBlock2D"],
  });
  t.equal(skips.cacheBranches, 0);
  await t.rejects(skips.forwardCached(x, 1), { code: "ERR_CONFIG_UNSUPPORTED", message: /SkipDownBlock2D/ });
});
