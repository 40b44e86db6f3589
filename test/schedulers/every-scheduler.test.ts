import t from "tap";
import { native } from "../../lib/native/open.js";
import type { Scheduler, SetTimestepsOptions } from "../../lib/schedulers/contract.js";
import { schedulerClassNames, schedulerFromConfig } from "../../lib/schedulers/known.js";
import { Generator } from "../../lib/torch/generator.js";
import { Tensor } from "../../lib/torch/tensor.js";

// What holds for every scheduler of the package, whichever come later.

const LDM = { beta_schedule: "scaled_linear", beta_start: 0.0015, beta_end: 0.0195 } as const;

/** Those that draw noise in a step. */
const STOCHASTIC = [
  "DDPMScheduler",
  "EulerAncestralDiscreteScheduler",
  "KDPM2AncestralDiscreteScheduler",
  "DPMSolverSDEScheduler",
  "SASolverScheduler",
  "TCDScheduler",
  "LCMScheduler",
];

const make = (name: string, config: object = LDM): Scheduler => schedulerFromConfig({ ...config, _class_name: name });

/** Count tensors that are made and not freed while `body` runs; what the garbage collector would free does not count. */
function countLeft(body: () => void): number {
  const freed = new Set<unknown>();
  const addon = native();
  const { tensorInfo } = addon;
  const { dispose } = Tensor.prototype;
  let left = 0;
  addon.tensorInfo = (handle) => {
    left++;
    return tensorInfo(handle);
  };
  Tensor.prototype.dispose = function (this: Tensor): void {
    if (!this.disposed && !freed.has(this)) {
      freed.add(this);
      left--;
    }
    dispose.call(this);
  };
  try {
    body();
    return left;
  } finally {
    addon.tensorInfo = tensorInfo;
    Tensor.prototype.dispose = dispose;
  }
}

/** Step through a run, each output freed at once; the sample is the only tensor that is left. */
function run(scheduler: Scheduler, generator: Generator | Generator[], batch = 1, stop = Infinity): Tensor {
  using source = Generator.fromSeed(3);
  let sample = source.randn([batch, 3, 2, 2]);
  for (const [i, timestep] of scheduler.timesteps.entries()) {
    if (i >= stop) break;
    using output = source.randn([batch, 3, 2, 2]);
    const { prevSample, ...others } = scheduler.step(output, timestep, sample, { generator });
    for (const other of Object.values<Tensor>(others)) if (other !== output) other.dispose();
    sample.dispose();
    sample = prevSample;
  }
  return sample;
}

t.test("the count of tensors that are left sees one that is", async (t) => {
  t.equal(
    countLeft(() => void Tensor.from(new Float32Array(1))),
    1,
  );
});

for (const name of schedulerClassNames()) {
  t.test(`${name} frees what it keeps: after a run, in the middle of one, and in its clones`, async (t) => {
    using generator = Generator.fromSeed(1);
    run(make(name), generator, 1, 0).dispose();
    const left = countLeft(() => {
      const scheduler = make(name);
      scheduler.setTimesteps(6);
      run(scheduler, generator).dispose();
      scheduler.dispose?.();
      scheduler.setTimesteps(6);
      run(scheduler, generator, 1, 4).dispose();
      const twin = scheduler.clone();
      twin.dispose?.();
      scheduler.setTimesteps(5);
      scheduler.dispose?.();
    });
    t.equal(left, 0, `${left} tensors left`);
  });

  t.test(`${name}: a clone in the middle of a run goes on alike, and disposing one leaves the other`, async (t) => {
    const scheduler = make(name);
    scheduler.setTimesteps(6);
    using generator = Generator.fromSeed(1);
    using sample = run(scheduler, generator, 1, 3);
    const timestep = scheduler.timesteps[3] ?? NaN;
    const [a, b] = [scheduler, scheduler.clone()].map((each) => {
      using own = Generator.fromSeed(2);
      using output = own.randn([1, 3, 2, 2]);
      const { prevSample } = each.step(output, timestep, sample, { generator: own });
      each.dispose?.();
      return Array.from(prevSample.dataSync() as Float32Array);
    });
    t.strictSame(a, b);
    t.ok(a?.every((value) => Number.isFinite(value)));
  });

  t.test(`${name} predicts the clean sample at every step`, async (t) => {
    const scheduler = make(name);
    scheduler.setTimesteps(6);
    using generator = Generator.fromSeed(1);
    let sample = generator.randn([2, 3, 2, 2]);
    for (const timestep of scheduler.timesteps) {
      const { prevSample, predOriginalSample } = scheduler.step(generator.randn([2, 3, 2, 2]), timestep, sample, {
        generator,
      });
      sample = prevSample;
      t.strictSame(predOriginalSample?.shape, [2, 3, 2, 2]);
      t.ok((predOriginalSample?.dataSync() as Float32Array).every(Number.isFinite));
    }
  });

  t.test(`${name} names the least and the most steps`, async (t) => {
    const scheduler = make(name);
    for (const count of [0, -1, 1.5, 1001, NaN, "5" as unknown as number])
      t.throws(
        () => scheduler.setTimesteps(count),
        { code: "ERR_INVALID_ARGUMENT", message: /from 1 to \d+/ },
        `${count}`,
      );
    t.throws(() => scheduler.setTimesteps(undefined), { code: "ERR_INVALID_ARGUMENT", message: /numInferenceSteps/ });
  });

  t.test(`${name} takes a list, or refuses it by name`, async (t) => {
    const lists: [keyof SetTimestepsOptions, number[]][] = [
      ["timesteps", [900, 500, 100]],
      ["sigmas", [10, 3, 1, 0]],
    ];
    for (const [option, list] of lists) {
      const scheduler = make(name);
      try {
        scheduler.setTimesteps(undefined, { [option]: list });
        t.ok(scheduler.timesteps.length >= 3, `${option}: ${scheduler.timesteps.length} timesteps`);
      } catch (error) {
        t.match(error, { code: "ERR_INVALID_ARGUMENT", message: new RegExp(`"${option}".*${name}`) });
      }
      t.throws(() => make(name).setTimesteps(3, { [option]: list }), { code: "ERR_INVALID_ARGUMENT" });
      t.throws(() => make(name).setTimesteps(undefined, { [option]: [] }), { code: "ERR_INVALID_ARGUMENT" });
    }
  });

  t.test(`${name} takes over every other class's config, and gives it back`, async (t) => {
    const wrong: string[] = [];
    for (const other of schedulerClassNames()) {
      const { config } = make(other);
      const scheduler = make(name, config);
      const back = make(other, scheduler.config);
      for (const [key, value] of Object.entries(LDM))
        if (scheduler.config[key] !== value) wrong.push(`${other}: ${key}`);
      for (const [key, value] of Object.entries(config)) {
        if (key.startsWith("_") || ["algorithm_type", "solver_type"].includes(key)) continue;
        if (JSON.stringify(back.config[key]) !== JSON.stringify(value)) wrong.push(`back to ${other}: ${key}`);
      }
    }
    t.strictSame(wrong, []);
  });
}

for (const name of STOCHASTIC) {
  t.test(`${name}: a list of generators gives each image what it gets alone`, async (t) => {
    const alone = [4, 5].map((seed) => {
      const scheduler = make(name);
      scheduler.setTimesteps(4);
      const sample = Tensor.from(new Float32Array(12).fill(0.5), [1, 3, 2, 2]);
      return stepAll(scheduler, sample, Generator.fromSeed(seed));
    });
    const scheduler = make(name);
    scheduler.setTimesteps(4);
    const sample = Tensor.from(new Float32Array(24).fill(0.5), [2, 3, 2, 2]);
    const generators = [4, 5].map((seed) => Generator.fromSeed(seed));
    t.strictSame(stepAll(scheduler, sample, generators), alone.flat());
    scheduler.setTimesteps(4);
    const start = (): unknown => stepAll(scheduler, sample, generators.slice(1));
    t.throws(start, { code: "ERR_INVALID_ARGUMENT", message: /2 generators/ });
  });
}

function stepAll(scheduler: Scheduler, start: Tensor, generator: Generator | Generator[]): number[] {
  let sample = start;
  for (const timestep of scheduler.timesteps) {
    sample = scheduler.step(sample, timestep, sample, { eta: 0.5, generator }).prevSample;
  }
  return Array.from(sample.dataSync() as Float32Array);
}
