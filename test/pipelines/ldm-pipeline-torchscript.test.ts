import { writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { Generator } from "../../lib/torch/generator.js";
import { UNet2DModel } from "../../lib/models/unet-2d/model.js";
import { LDMPipeline } from "../../lib/pipelines/ldm.js";
import { DDIMScheduler } from "../../lib/schedulers/ddim.js";
import { ScriptModule } from "../../lib/torch/script-module.js";
import { Tensor } from "../../lib/torch/tensor.js";

const CHECKPOINT = join(__dirname, "..", "fixtures", "pipelines", "tiny", "checkpoint");
const CONFIG = { in_channels: 3, sample_size: 8, scaling_factor: 0.5, vae_scale_factor: 2 };
const QUICK = { numInferenceSteps: 2, seed: 1 };

const wrong = (value: unknown): never => value as never;

/** A module of one parameter with a given forward. */
function moduleOf(source: string): Promise<ScriptModule> {
  return ScriptModule.define(
    { name: "Decoder", source, parameters: [["weight", [1]]], children: [] },
    new Map([["weight", Tensor.from([2])]]),
    { optimize: false },
  );
}

/** Twice the size, and twice the latents as they were after scaling. */
const decoder = (): Promise<ScriptModule> =>
  moduleOf(`
def forward(self, latents):
    return torch.upsample_nearest2d(latents * self.weight, [latents.size(2) * 2, latents.size(3) * 2])
`);

t.test("files and modules make a pipeline", async (t) => {
  const folder = t.testdir({ "config.json": JSON.stringify(CONFIG) });
  const unet = await UNet2DModel.fromPretrained(join(CHECKPOINT, "unet"), { optimize: false });
  t.teardown(() => unet.dispose());
  await unet.module.save(join(folder, "unet.pt"));
  const scheduler = await DDIMScheduler.fromPretrained(join(CHECKPOINT, "scheduler"));
  await scheduler.savePretrained(folder);
  const parts = {
    unet: join(folder, "unet.pt"),
    vqDecoder: await decoder(),
    scheduler: folder,
    config: join(folder, "config.json"),
  };
  await t.rejects(LDMPipeline.fromTorchScript({ ...parts, trusted: wrong(false) }), {
    code: "ERR_TORCHSCRIPT_UNTRUSTED",
  });
  const pipe = await LDMPipeline.fromTorchScript({ ...parts, trusted: true, optimize: false });
  t.equal(pipe.scalingFactor, 0.5);
  const { images } = await pipe.generate({ ...QUICK, outputType: "tensor" });
  t.strictSame(images.shape, [1, 3, 16, 16]);

  // The same network as TypeScript wrote it, and the decoder by hand.
  scheduler.setTimesteps(2);
  let latents = Generator.fromSeed(1).randn([1, 3, 8, 8]);
  for (const timestep of scheduler.timesteps) {
    latents = scheduler.step((await unet.forward(latents, timestep)).sample, timestep, latents).prevSample;
  }
  const clean = await latents.data();
  const pictures = await images.data();
  const expected = Math.min(1, Math.max(0, ((Number(clean[0]) / 0.5) * 2) / 2 + 0.5));
  t.ok(Math.abs(Number(pictures[17]) - expected) < 1e-6, "divided by the scaling factor once");

  t.equal((await pipe.generate({ ...QUICK, height: 24, width: 16 })).images[0]?.height, 24);
  await t.rejects(pipe.savePretrained(join(folder, "saved")), {
    code: "ERR_CONFIG_UNSUPPORTED",
    message: /TorchScript/,
  });
  await pipe.to("float64");
  t.equal(
    (await pipe.generate({ ...QUICK, outputType: "tensor" })).images.dtype,
    "float64",
    "a script that names no dtype moves",
  );
  pipe.dispose();
  t.ok(parts.vqDecoder.disposed);
});

t.test("what is wrong is said, and nothing stays open", async (t) => {
  const unet = await moduleOf("def forward(self, sample, timestep):\n    return sample * self.weight\n");
  const vqDecoder = await decoder();
  t.teardown(() => {
    unet.dispose();
    vqDecoder.dispose();
  });
  const parts = { unet, vqDecoder, scheduler: new DDIMScheduler(), config: CONFIG, trusted: true as const };
  const refused: [object, RegExp][] = [
    [{ unet: 3 }, /a path or a ScriptModule for unet/],
    [{ config: undefined }, /config/],
    [{ config: {} }, /config.in_channels/],
    [{ config: { ...CONFIG, sample_size: "8" } }, /config.sample_size/],
    [{ config: { ...CONFIG, scaling_factor: 0 } }, /scalingFactor/],
    [{ config: { ...CONFIG, latent_channels: 3 } }, /Unknown option "latent_channels"/],
    [{ scheduler: undefined }, /a scheduler, its config or a folder for scheduler/],
    [{ scheduler: { beta_stat: 1 } }, /Unknown key "beta_stat".*did you mean "beta_start"/],
    [{ scheduler: { step: 1 } }, /a scheduler for scheduler/],
    [{ vqDecoder: unet }, /two modules for unet and vqDecoder/],
    [{ vqvae: 1 }, /Unknown option "vqvae"/],
  ];
  for (const [options, message] of refused) {
    await t.rejects(
      LDMPipeline.fromTorchScript(wrong({ ...parts, ...options })),
      { code: "ERR_INVALID_ARGUMENT", message },
      String(message),
    );
  }
  await t.rejects(LDMPipeline.fromTorchScript({ ...parts, unet: "nowhere.pt" }), { code: "ERR_CHECKPOINT_NOT_FOUND" });
  await t.rejects(LDMPipeline.fromTorchScript({ ...parts, config: "nowhere.json" }), {
    code: "ERR_CHECKPOINT_NOT_FOUND",
  });
  const other = { ...parts, scheduler: { _class_name: "EDMEulerScheduler" } };
  await t.rejects(LDMPipeline.fromTorchScript(other), {
    code: "ERR_CONFIG_UNSUPPORTED",
    message: /"DDIMScheduler".* for _class_name .* received "EDMEulerScheduler"/,
  });
  t.notOk(vqDecoder.disposed, "what the caller brought stays the caller's");
  const sizeless = await LDMPipeline.fromTorchScript({ ...parts, config: { in_channels: 3 } });
  await t.rejects(sizeless.generate(QUICK), { code: "ERR_INVALID_ARGUMENT", message: /height/ });
  await t.rejects(sizeless.generate({ ...QUICK, height: 8, width: 8 }), { message: /vae_scale_factor/ });
  const path = join(t.testdir({}), "config.json");
  writeFileSync(path, "[]");
  await t.rejects(LDMPipeline.fromTorchScript({ ...parts, config: path }), { code: "ERR_CHECKPOINT_INVALID" });
});

t.test("a module without forward is refused when it is loaded", async (t) => {
  const mute = await moduleOf("def encode(self, x):\n    return x * self.weight\n");
  const path = join(t.testdir({}), "mute.pt");
  await mute.save(path);
  const parts = { scheduler: new DDIMScheduler(), config: CONFIG, trusted: true as const };
  const vqDecoder = await decoder();
  t.teardown(() => {
    mute.dispose();
    vqDecoder.dispose();
  });
  const message = /the method forward for unet but received one with encode/;
  await t.rejects(LDMPipeline.fromTorchScript({ ...parts, unet: path, vqDecoder }), {
    code: "ERR_TORCHSCRIPT_INVALID",
    message,
  });
  await t.rejects(LDMPipeline.fromTorchScript({ ...parts, unet: mute, vqDecoder }), {
    code: "ERR_TORCHSCRIPT_INVALID",
    message,
  });
  await t.rejects(LDMPipeline.fromTorchScript({ ...parts, unet: vqDecoder, vqDecoder: path }), {
    code: "ERR_TORCHSCRIPT_INVALID",
    message: /for vqDecoder/,
  });
  t.notOk(mute.disposed || vqDecoder.disposed, "what the caller brought stays the caller's");
});

t.test("a scheduler may be a config: a literal, or a file's content", async (t) => {
  const forward = "def forward(self, sample, timestep):\n    return sample * self.weight\n";
  for (const scheduler of [
    { timestep_spacing: "trailing" } as const,
    { _class_name: "DDIMScheduler", timestep_spacing: "trailing", foreign: 1 },
  ]) {
    using pipe = await LDMPipeline.fromTorchScript({
      unet: await moduleOf(forward),
      vqDecoder: await decoder(),
      scheduler,
      config: CONFIG,
      trusted: true,
    });
    t.equal(pipe.scheduler.config.timestep_spacing, "trailing");
    t.equal((await pipe.generate(QUICK)).images.length, 1);
    t.strictSame(pipe.config.scheduler, ["diffusers", "DDIMScheduler"]);
    t.strictSame(
      [pipe.config.unet, pipe.config.vqvae],
      [
        [null, null],
        [null, null],
      ],
      "diffusers has no such classes",
    );
    await pipe.unet.to("float64");
    t.equal(pipe.unet.dtype, "float64", "a part moves by itself too");
  }
});

t.test("a scheduler's folder is read by the class that its file names", async (t) => {
  const folder = t.testdir({});
  const parts = {
    unet: await moduleOf("def forward(self, sample, timestep):\n    return sample * self.weight\n"),
    vqDecoder: await decoder(),
    config: CONFIG,
    trusted: true as const,
  };
  t.teardown(() => {
    parts.unet.dispose();
    parts.vqDecoder.dispose();
  });
  const write = (config: object): void => writeFileSync(join(folder, "scheduler_config.json"), JSON.stringify(config));
  write({ _class_name: "EDMEulerScheduler", skip_prk_steps: true });
  await t.rejects(LDMPipeline.fromTorchScript({ ...parts, scheduler: folder }), {
    code: "ERR_CONFIG_UNSUPPORTED",
    message: /"DDIMScheduler".* for the scheduler .* received "EDMEulerScheduler".*; bring one/,
  });
  await t.rejects(LDMPipeline.fromTorchScript({ ...parts, scheduler: join(folder, "nowhere") }), {
    code: "ERR_CHECKPOINT_NOT_FOUND",
  });
  await t.rejects(LDMPipeline.fromTorchScript({ ...parts, scheduler: "" }), { code: "ERR_INVALID_ARGUMENT" });
  write({ timestep_spacing: "trailing", foreign: 1 });
  const pipe = await LDMPipeline.fromTorchScript({ ...parts, scheduler: folder });
  t.match(pipe.scheduler.config, { timestep_spacing: "trailing", foreign: 1 }, "a file by hand may name none");
});

t.test("the timestep is a float32 without dimensions, so fractions survive", async (t) => {
  const unet = await moduleOf(
    "def forward(self, sample, timestep):\n    assert timestep.dim() == 0\n    return sample * 0 + timestep * self.weight\n",
  );
  const pipe = await LDMPipeline.fromTorchScript({
    unet,
    vqDecoder: await decoder(),
    scheduler: new DDIMScheduler(),
    config: CONFIG,
    trusted: true,
  });
  t.teardown(() => pipe.dispose());
  const { sample } = await pipe.unet.forward(Tensor.from(new Float32Array(3), [1, 3, 1, 1]), 7.5);
  t.strictSame(Array.from(await sample.data(), Number), [15, 15, 15]);
});
