import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { Generator } from "../../lib/torch/generator.js";
import { type DDIMConfigKeys, DDIMScheduler } from "../../lib/schedulers/ddim.js";
import { Tensor } from "../../lib/torch/tensor.js";
import { replayTrajectory } from "../support/scheduler-cases.js";

const FIXTURES = join(__dirname, "..", "fixtures", "schedulers");
const LDM = { beta_schedule: "scaled_linear", beta_start: 0.0015, beta_end: 0.0195, clip_sample: false } as const;
const SHAPE = [2, 3, 4, 4];

/** What JavaScript callers pass. */
const wrong = (value: unknown): never => value as never;

const values = (tensor: Tensor): number[] => Array.from(tensor.dataSync() as Float32Array);

function noise(seed: number, shape: readonly number[] = SHAPE): Tensor {
  using generator = Generator.fromSeed(seed);
  return generator.randn(shape);
}

function scheduled(config: Partial<DDIMConfigKeys>, steps: number): DDIMScheduler {
  const scheduler = new DDIMScheduler(config);
  scheduler.setTimesteps(steps);
  return scheduler;
}

for (const name of readdirSync(FIXTURES).filter((name) => !name.startsWith("run-"))) {
  // Roots and quantiles may round otherwise on another CPU.
  t.test(`diffusers' trajectory: ${name}`, (t) => replayTrajectory(t, join(FIXTURES, name), 1e-6));
}

t.test("timesteps in closed form", async (t) => {
  t.strictSame(scheduled({}, 4).timesteps, [750, 500, 250, 0]);
  t.strictSame(scheduled({ steps_offset: 1 }, 4).timesteps, [751, 501, 251, 1]);
  t.strictSame(scheduled({ timestep_spacing: "trailing" }, 4).timesteps, [999, 749, 499, 249]);
  t.strictSame(scheduled({ timestep_spacing: "linspace" }, 4).timesteps, [999, 666, 333, 0]);
  // Halves go to the even neighbour: 4.5 and 13.5 of [0, 4.5, 9, 13.5, 18].
  t.strictSame(scheduled({ timestep_spacing: "linspace", num_train_timesteps: 19 }, 5).timesteps, [18, 14, 9, 4, 0]);
  t.strictSame(scheduled({ timestep_spacing: "linspace" }, 1).timesteps, [0]);
  t.strictSame(
    new DDIMScheduler({ num_train_timesteps: 3 }).timesteps,
    [2, 1, 0],
    "all of them before a schedule is set",
  );
  t.equal(new DDIMScheduler().numInferenceSteps, undefined);
  t.equal(scheduled({}, 4).numInferenceSteps, 4);
  t.equal(scheduled({}, 4).initNoiseSigma, 1);
});

t.test("with the true noise, one step finds the clean sample, and eta 0 walks the line to it", async (t) => {
  const scheduler = scheduled(LDM, 10);
  const clean = noise(1);
  const epsilon = noise(2);
  const from = scheduler.timesteps[3] ?? 0;
  const to = scheduler.timesteps[4] ?? 0;
  const { prevSample, predOriginalSample } = scheduler.step(epsilon, from, scheduler.addNoise(clean, epsilon, from));
  const expected = scheduler.addNoise(clean, epsilon, to);
  t.ok(
    values(predOriginalSample).every((value, i) => Math.abs(value - (values(clean)[i] ?? NaN)) < 1e-5),
    "x_0",
  );
  t.ok(
    values(prevSample).every((value, i) => Math.abs(value - (values(expected)[i] ?? NaN)) < 1e-5),
    "x_(t-1)",
  );
});

t.test("epsilon, sample and velocity of one noised sample say the same", async (t) => {
  const clean = noise(1);
  const epsilon = noise(2);
  const step = (prediction_type: "epsilon" | "sample" | "v_prediction"): number[] => {
    const scheduler = scheduled({ ...LDM, prediction_type }, 5);
    const at = scheduler.timesteps[2] ?? 0;
    const output = { epsilon, sample: clean, v_prediction: scheduler.getVelocity(clean, epsilon, at) }[prediction_type];
    return values(scheduler.step(output, at, scheduler.addNoise(clean, epsilon, at)).prevSample);
  };
  const expected = step("epsilon");
  for (const type of ["sample", "v_prediction"] as const) {
    t.ok(
      step(type).every((value, i) => Math.abs(value - (expected[i] ?? NaN)) < 1e-5),
      type,
    );
  }
});

t.test("the last step ends at the predicted sample, at alpha 1", async (t) => {
  const scheduler = scheduled({}, 5);
  const { prevSample, predOriginalSample } = scheduler.step(noise(1), 0, noise(2), { eta: 0.7 });
  t.strictSame(values(prevSample), values(predOriginalSample));
  t.ok(
    values(prevSample).every((value) => Math.abs(value) <= 1),
    "clipped",
  );
});

t.test("eta adds noise of sigma's size, from the generators", async (t) => {
  const scheduler = scheduled(LDM, 10);
  const [output, sample] = [noise(1), noise(2)];
  const at = scheduler.timesteps[4] ?? 0;
  const step = (options: object): number[] => values(scheduler.step(output, at, sample, options).prevSample);
  const zeros = Tensor.from(new Float32Array(96), SHAPE);
  const without = step({ eta: 0.7, varianceNoise: zeros });
  const table = scheduler.alphasCumprod;
  const [alpha = NaN, previous = NaN] = [table[at], table[at - 100]];
  const sigma = 0.7 * Math.sqrt(((1 - previous) / (1 - alpha)) * (1 - alpha / previous));
  const fresh = values(noise(5));
  const withNoise = step({ eta: 0.7, generator: Generator.fromSeed(5) });
  t.ok(
    withNoise.every((value, i) => Math.abs(value - (without[i] ?? NaN) - sigma * (fresh[i] ?? NaN)) < 1e-5),
    `sigma ${sigma}`,
  );
  const [first, second] = [step({ eta: 0.7 }), step({ eta: 0.7 })];
  t.notSame(first, second, "without a generator the noise is new each time");
  t.strictSame(step({}), step({ generator: Generator.fromSeed(1) }), "with eta 0 nothing is drawn");
  const list = step({ eta: 0.7, generator: [Generator.fromSeed(8), Generator.fromSeed(9)] });
  const single = values(noise(9, [1, 3, 4, 4]));
  t.ok(
    list.slice(48).every((value, i) => Math.abs(value - (without[48 + i] ?? NaN) - sigma * (single[i] ?? NaN)) < 1e-5),
    "one generator an image",
  );
});

t.test("an untouched generator stays where it was", async (t) => {
  const generator = Generator.fromSeed(3);
  const before = generator.getState();
  scheduled(LDM, 3).step(noise(1), 0, noise(2), { eta: 0, generator });
  t.strictSame(generator.getState(), before);
});

t.test("thresholding brings each image into [-1, 1] by its own quantile", async (t) => {
  const scheduler = scheduled(
    { thresholding: true, dynamic_thresholding_ratio: 0.5, sample_max_value: 100, prediction_type: "sample" },
    5,
  );
  const output = Tensor.from(
    Float32Array.from({ length: 8 }, (_, i) => (i < 4 ? i * 10 : i - 4)),
    [2, 1, 2, 2],
  );
  const { predOriginalSample } = scheduler.step(output, 400, noise(1, [2, 1, 2, 2]));
  // Medians of magnitudes: 15 of [0, 10, 20, 30], 1.5 of [0, 1, 2, 3].
  const expected = [0, 10 / 15, 1, 1, 0, 1 / 1.5, 1, 1];
  t.ok(
    values(predOriginalSample).every((value, i) => Math.abs(value - (expected[i] ?? NaN)) < 1e-6),
    values(predOriginalSample).join(),
  );
});

t.test("zero terminal SNR: nothing is left at the last timestep, as much as before at the first", async (t) => {
  const plain = new DDIMScheduler(LDM).alphasCumprod;
  const rescaled = new DDIMScheduler({ ...LDM, rescale_betas_zero_snr: true }).alphasCumprod;
  t.equal(rescaled.at(-1), 0);
  t.ok(Math.abs((rescaled[0] ?? NaN) - (plain[0] ?? NaN)) < 1e-6);
});

t.test("clones share nothing that changes", async (t) => {
  const scheduler = scheduled(LDM, 5);
  const twin = scheduler.clone();
  t.strictSame(twin.timesteps, scheduler.timesteps);
  twin.setTimesteps(3);
  t.equal(scheduler.numInferenceSteps, 5);
  t.equal(twin.config, scheduler.config);
  scheduler.alphasCumprod.fill(0);
  t.ok((scheduler.alphasCumprod[0] ?? 0) > 0.9, "the table that is given out is a copy");
});

t.test("scaleModelInput gives the sample back", async (t) => {
  const sample = noise(1);
  t.equal(new DDIMScheduler().scaleModelInput(sample, 3), sample);
});

t.test("configs are frozen, complete, and remember what was never set", async (t) => {
  const { config } = new DDIMScheduler(LDM);
  t.ok(Object.isFrozen(config));
  t.equal(config.num_train_timesteps, 1000);
  t.ok((config._use_default_values as string[]).includes("steps_offset"));
  t.notOk((config._use_default_values as string[]).includes("beta_start"));
  const betas = [0.1, 0.2];
  const trained = new DDIMScheduler({ trained_betas: betas, num_train_timesteps: 2 });
  betas[0] = 0.9;
  t.strictSame(trained.config.trained_betas, [0.1, 0.2], "the caller's array is not the config's");
  t.ok(Object.isFrozen(trained.config.trained_betas));
});

t.test("fromConfig: defaults of another class give way, its own keys are kept", async (t) => {
  const euler = {
    timestep_spacing: "linspace",
    use_karras_sigmas: false,
    beta_start: 0.2,
    _use_default_values: ["timestep_spacing", "use_karras_sigmas"],
  };
  const { config } = DDIMScheduler.fromConfig(euler);
  t.equal(config.timestep_spacing, "leading", "never set there, so the default here");
  t.equal(config.beta_start, 0.2);
  t.notOk(Object.hasOwn(config, "use_karras_sigmas"));
  const saved = DDIMScheduler.fromConfig({
    _class_name: "EulerDiscreteScheduler",
    timestep_spacing: "linspace",
    use_karras_sigmas: true,
  });
  t.equal(saved.config.timestep_spacing, "linspace");
  t.equal(saved.config.use_karras_sigmas, true);
  t.equal(saved.config._class_name, "DDIMScheduler");
  t.equal(DDIMScheduler.fromConfig(saved.config).config.use_karras_sigmas, true, "and on");
  const overridden = DDIMScheduler.fromConfig(saved.config, { timestep_spacing: "trailing" });
  t.equal(overridden.config.timestep_spacing, "trailing");
  t.throws(() => DDIMScheduler.fromConfig(saved.config, wrong({ timestep_spacin: "trailing" })), {
    message: /timestep_spacin".*did you mean "timestep_spacing"/,
  });
});

t.test("save and load", async (t) => {
  const folder = t.testdir({});
  const scheduler = DDIMScheduler.fromConfig({ ...LDM, _class_name: "PNDMScheduler", skip_prk_steps: true });
  await scheduler.savePretrained(join(folder, "scheduler"));
  const text = JSON.parse(readFileSync(join(folder, "scheduler", "scheduler_config.json"), "utf8")) as Record<
    string,
    unknown
  >;
  t.equal(text._class_name, "DDIMScheduler");
  t.equal(text.skip_prk_steps, true);
  t.notOk("_use_default_values" in text);
  const loaded = await DDIMScheduler.fromPretrained(folder, { subfolder: "scheduler" });
  t.equal(loaded.config.beta_end, 0.0195);
  t.equal(loaded.config.skip_prk_steps, true);
  await t.rejects(DDIMScheduler.fromPretrained(folder), { code: "ERR_CHECKPOINT_NOT_FOUND" });
  mkdirSync(join(folder, "other"));
  writeFileSync(join(folder, "other", "scheduler_config.json"), '{"_class_name": "FlowMatchEulerDiscreteScheduler"}');
  await t.rejects(DDIMScheduler.fromPretrained(join(folder, "other")), {
    code: "ERR_CONFIG_UNSUPPORTED",
    message: /FlowMatchEuler/,
  });
});

t.test("configs that are wrong, or that diffusers breaks on, are refused", async (t) => {
  const refused: [Partial<Record<keyof DDIMConfigKeys, unknown>>, RegExp][] = [
    [
      { beta_schedule: "cosine" },
      /one of "linear", "scaled_linear", "squaredcos_cap_v2" for beta_schedule but received "cosine"/,
    ],
    [{ prediction_type: "velocity" }, /prediction_type/],
    [{ timestep_spacing: null }, /timestep_spacing but received null/],
    [{ num_train_timesteps: 0 }, /an integer from 1 to 100000 for num_train_timesteps/],
    [{ steps_offset: -1 }, /steps_offset/],
    [{ clip_sample: 1 }, /true or false for clip_sample/],
    [{ clip_sample_range: -1 }, /a finite number above 0 for clip_sample_range/],
    [{ dynamic_thresholding_ratio: 1.5 }, /from 0 to 1 for dynamic_thresholding_ratio/],
    [{ trained_betas: [] }, /trained_betas/],
    [{ trained_betas: [0.1, "a"], num_train_timesteps: 2 }, /trained_betas\[1\]/],
  ];
  for (const [config, message] of refused) {
    t.throws(
      () => new DDIMScheduler(wrong(config)),
      { code: "ERR_CONFIG_UNSUPPORTED", message },
      JSON.stringify(config),
    );
    t.throws(() => DDIMScheduler.fromConfig(wrong(config)), { code: "ERR_CONFIG_UNSUPPORTED", message });
  }
  t.throws(() => new DDIMScheduler(wrong({ beta_strat: 1 })), {
    code: "ERR_INVALID_ARGUMENT",
    message: /Unknown key "beta_strat".*did you mean "beta_start"/,
  });
  t.throws(() => new DDIMScheduler(wrong(null)), { code: "ERR_INVALID_ARGUMENT" });
});

t.test("what diffusers constructs, constructs; the step that cannot be taken is refused", async (t) => {
  const refused: [Partial<DDIMConfigKeys>, number, RegExp][] = [
    [{ trained_betas: [0.1, 0.2] }, 10, /timestep 900: trained_betas has 2 values only/],
    [{ beta_end: 2 }, 10, /timestep 900: nothing of the sample is left/],
    [{ beta_start: -1, beta_schedule: "scaled_linear" }, 10, /must be from 0 to 1/],
    [{ num_train_timesteps: 1, rescale_betas_zero_snr: true }, 1, /must be from 0 to 1/],
  ];
  for (const [config, steps, message] of refused) {
    const scheduler = scheduled(config, steps);
    t.throws(() => scheduler.checkSteps({}), { code: "ERR_CONFIG_UNSUPPORTED", message }, JSON.stringify(config));
    const first = scheduler.timesteps[0] ?? 0;
    t.throws(() => scheduler.step(noise(1), first, noise(2)), { code: "ERR_CONFIG_UNSUPPORTED" });
  }
  const used = scheduled({ trained_betas: [0.1, 0.2, 0.3], num_train_timesteps: 6 }, 3);
  t.strictSame(used.timesteps, [4, 2, 0]);
  t.ok(used.step(noise(1), 2, noise(2)).prevSample, "a timestep within the list can be stepped at");
});

t.test("a config may be spread into a literal, as Python's **config", async (t) => {
  const file = DDIMScheduler.fromConfig({
    _class_name: "PNDMScheduler",
    _diffusers_version: "0.7.0",
    beta_start: 0.0015,
    _use_default_values: ["beta_end"],
  });
  const spread = new DDIMScheduler({ ...file.config, timestep_spacing: "trailing" });
  t.match(spread.config, {
    _class_name: "DDIMScheduler",
    _diffusers_version: "0.7.0",
    beta_start: 0.0015,
    timestep_spacing: "trailing",
  });
  t.notOk("_use_default_values" in spread.config, "all of them are set");
  const foreign = DDIMScheduler.fromConfig({ _class_name: "PNDMScheduler", skip_prk_steps: true });
  t.throws(() => new DDIMScheduler({ ...foreign.config }), {
    code: "ERR_INVALID_ARGUMENT",
    message: /"skip_prk_steps" .*DDIMScheduler\.fromConfig keeps/,
  });
});

t.test("schedules that cannot be run are refused before the first step", async (t) => {
  t.throws(() => scheduled({ steps_offset: 1 }, 1000), {
    code: "ERR_CONFIG_UNSUPPORTED",
    message: /visits timestep 1000, outside 0 to 999/,
  });
  t.throws(() => scheduled({ timestep_spacing: "trailing" }, 61), {
    code: "ERR_CONFIG_UNSUPPORTED",
    message: /timestep -1/,
  });
  t.throws(() => scheduled({}, 1001), {
    code: "ERR_INVALID_ARGUMENT",
    message: /from 1 to 1000 for numInferenceSteps/,
  });
  t.throws(() => scheduled({}, 0), { code: "ERR_INVALID_ARGUMENT" });
  const zeroSnr = { ...LDM, rescale_betas_zero_snr: true, timestep_spacing: "trailing" } as const;
  t.throws(() => scheduled(zeroSnr, 10).checkSteps({}), {
    code: "ERR_CONFIG_UNSUPPORTED",
    message: /timestep 999.*v_prediction/,
  });
  const clipped = { rescale_betas_zero_snr: true, timestep_spacing: "trailing" } as const;
  t.doesNotThrow(() => scheduled(clipped, 10).checkSteps());
  t.throws(() => scheduled(clipped, 10).checkSteps(wrong(null)), { code: "ERR_INVALID_ARGUMENT" });
  t.throws(() => scheduled({ ...clipped, thresholding: true }, 10).checkSteps({}), {
    code: "ERR_CONFIG_UNSUPPORTED",
    message: /timestep 999/,
  });
  t.doesNotThrow(() => scheduled({ ...zeroSnr, prediction_type: "v_prediction" }, 10).checkSteps({ eta: 0.9 }));
  t.throws(() => scheduled({ beta_start: 0 }, 10).checkSteps({}), {
    code: "ERR_CONFIG_UNSUPPORTED",
    message: /timestep 0.*no noise to remove/,
  });
  const cosine = {
    beta_schedule: "squaredcos_cap_v2",
    rescale_betas_zero_snr: true,
    timestep_spacing: "trailing",
    prediction_type: "v_prediction",
  } as const;
  // Which numbers of steps round so is the CPU's affair; some do on each.
  const refuse = (steps: number): string[] => {
    const scheduler = scheduled(cosine, steps);
    scheduler.checkSteps({ eta: 0.99 });
    try {
      scheduler.checkSteps({ eta: 1 });
      return [];
    } catch (error) {
      t.match(error, { code: "ERR_CONFIG_UNSUPPORTED", message: /eta 1 .* take eta 0.99 or less/ });
      return [String(steps)];
    }
  };
  const refused = Array.from({ length: 60 }, (_, i) => refuse(i + 1)).flat();
  t.ok(refused.length > 0 && refused.length < 60, `refused with ${refused.join(", ")} steps`);
});

t.test("steps say what is wrong", async (t) => {
  const scheduler = scheduled(LDM, 10);
  const [output, sample] = [noise(1), noise(2)];
  const generator = Generator.fromSeed(0);
  t.throws(() => new DDIMScheduler().step(output, 0, sample), { code: "ERR_INVALID_STATE", message: /setTimesteps/ });
  const refused: [() => unknown, RegExp][] = [
    [() => scheduler.step(wrong([1]), 0, sample), /a Tensor for modelOutput/],
    [() => scheduler.step(output, 0, wrong(undefined)), /a Tensor for sample/],
    [() => scheduler.step(output, 1000, sample), /from 0 to 999 for timestep/],
    [() => scheduler.step(output, 0.5, sample), /an integer .* for timestep/],
    [
      () => scheduler.step(noise(1, [1, 3, 4, 4]), 0, sample),
      /\[2, 3, 4, 4\] of sample for modelOutput but received \[1, 3, 4, 4\]/,
    ],
    [() => scheduler.step(output, 0, sample, { eta: 1.5 }), /from 0 to 1 for eta/],
    [() => scheduler.step(output, 0, sample, { eta: NaN }), /eta/],
    [() => scheduler.step(output, 0, sample, wrong({ etta: 1 })), /"etta".*did you mean "eta"/],
    [() => scheduler.step(output, 0, sample, { eta: 1, generator, varianceNoise: sample }), /received both/],
    [() => scheduler.step(output, 0, sample, { eta: 1, generator: [generator] }), /Expected 2 generators/],
    [
      () => scheduler.step(output, 0, sample, { eta: 1, generator: wrong([generator, 3]) }),
      /a Generator for generator\[1\]/,
    ],
    [() => scheduler.step(output, 0, sample, { eta: 1, varianceNoise: noise(1, [2, 3, 4, 1]) }), /varianceNoise/],
    [() => scheduler.addNoise(sample, noise(1, [2, 3]), 0), /for noise/],
    [() => scheduler.addNoise(sample, output, [1, 2, 3]), /one timestep, or 2/],
    [() => scheduler.getVelocity(sample, output, [1, -1]), /timesteps\[1\]/],
  ];
  for (const [call, message] of refused) t.throws(call, { code: "ERR_INVALID_ARGUMENT", message }, String(message));
});

t.test("steps leave their inputs alone, and free what they make", async (t) => {
  const scheduler = scheduled({ prediction_type: "sample", clip_sample: false }, 10);
  const [output, sample] = [noise(1), noise(2)];
  const before = [values(output), values(sample)];
  const { prevSample, predOriginalSample } = scheduler.step(output, 300, sample, {
    eta: 0.5,
    generator: Generator.fromSeed(1),
  });
  t.strictSame([values(output), values(sample)], before);
  t.equal(predOriginalSample, output, "what the network gave is the clean sample itself");
  t.equal(prevSample.disposed, false);
});
