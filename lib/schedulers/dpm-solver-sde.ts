import type { ConfigClass } from "../config/config.js";
import { integer, nullable } from "../config/fields.js";
import { Generator } from "../torch/generator.js";
import type { Tensor } from "../torch/tensor.js";
import { checkNumber, checkOptions } from "../validate.js";
import type { GivenConfig, ScheduleRequest, StepInput, TakenStep } from "./base.js";
import type { StepOptions } from "./contract.js";
import { type Arithmetic, compute } from "./shared/arithmetic.js";
import { checkStepGenerator, keep, unsolvable } from "./shared/checks.js";
import { interleave } from "./shared/midpoint-levels.js";
import {
  midpointFields,
  type MidpointKeys,
  type MidpointSchedule,
  MidpointScheduler,
} from "./shared/midpoint-scheduler.js";
import { drawLike } from "./shared/noise.js";
import { type SpreadLimits, withLast } from "./shared/sigma-scheduler.js";
import { linspace } from "./shared/spacing.js";

/** The keys of a `DPMSolverSDEScheduler`'s `scheduler_config.json`. */
export interface DPMSolverSDEConfigKeys extends MidpointKeys {
  /** Draw the noise of a run from a generator with this seed, whatever generator `step` is given; default null: from that one. */
  noise_sampler_seed: number | null;
}

/** The class's name, keys and defaults. */
export const DPM_SDE_CLASS: ConfigClass<DPMSolverSDEConfigKeys> = {
  className: "DPMSolverSDEScheduler",
  fields: { ...midpointFields, noise_sampler_seed: nullable(integer(0, { min: 0 })) },
};

/** The options of {@link DPMSolverSDEScheduler.step}. */
export interface DPMSolverSDEStepOptions extends StepOptions {
  /** The factor of the noise; default 1. */
  sNoise?: number;
}

/**
 * Denoise by DPM-Solver++ (2S) along the SDE as k-diffusion has it (`sample_dpmpp_sde`): from the beginning of a step to the middle of
 * log(sigma), and with the model there from the beginning to the end; both go below their level, and add noise up to it. N steps evaluate
 * the network 2N - 1 times.
 *
 * | variable | paper |
 * |---|---|
 * | `t` | lambda = -log(sigma) |
 * | `down`, `up` | where the update goes, and the standard deviation of the noise; up^2 + down^2 = sigma^2 |
 * | `noise` | the increment of a Brownian motion over sigma, divided by its standard deviation |
 *
 * The increment over a whole step holds the one over its first half. diffusers draws both from a tree of torchsde's that the generator of
 * a run does not seed; here the generator's own numbers are used, so that a seed makes a picture again, but not Python's picture.
 * @see https://arxiv.org/abs/2211.01095 algorithm 1, diffusers.DPMSolverSDEScheduler
 */
export class DPMSolverSDEScheduler extends MidpointScheduler<DPMSolverSDEConfigKeys, DPMSolverSDEStepOptions> {
  static readonly kind = DPM_SDE_CLASS;
  /** The noise of a first half, which the second one needs. */
  #firstNoise: Tensor | undefined;
  /** Seeded by the config. */
  #ownGenerator: Generator | undefined;

  /**
   * Make a scheduler of a config's keys; those left out have diffusers' defaults.
   * @throws InvalidArgumentError `ERR_INVALID_ARGUMENT` for an unknown key; LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` for a value
   */
  constructor(config: GivenConfig<DPMSolverSDEConfigKeys> = {}) {
    super(DPM_SDE_CLASS, config);
  }

  /** @throws LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` for what cannot be stepped with */
  override checkSteps(options?: StepOptions): void {
    checkOptions(options, ["eta", "generator"], "DPMSolverSDEScheduler.checkSteps");
    this.checkHalves();
    const { timesteps } = this;
    for (let i = 0; i < timesteps.length; i += 2)
      if (this.levelAt(i + 1) === this.levelAt(i))
        throw unsolvable(this.className, `timestep ${timesteps[i]}`, "the noise level does not fall; take fewer steps");
  }

  protected override schedule({ count }: ScheduleRequest): MidpointSchedule {
    const { timesteps, sigmas } = this.spaced(count);
    // diffusers takes the timesteps of the middles in doubles, and steps with the middles in float32.
    const middles = sigmas.slice(1).map((next, i) => {
      const t = -Math.log(sigmas[i] ?? NaN);
      return Math.exp(-(t + (-Math.log(next) - t) * 0.5));
    });
    const [first = NaN, ...others] = sigmas;
    return {
      timesteps: interleave(timesteps, this.timestepsOf(middles)),
      sigmas: withLast([first, ...others.flatMap((level) => [level, level])], 0),
      middles: Float32Array.from(others, (next, i) => middleOf(sigmas[i] ?? NaN, next)),
    };
  }

  /** As its siblings' timesteps, but in doubles. */
  protected override space(count: number): number[] {
    const { timestep_spacing: spacing, num_train_timesteps: total } = this.config;
    return spacing === "linspace" ? linspace(0, total - 1, count).reverse() : super.space(count);
  }

  /** The limits of other classes' configs hold for every spread but Karras', as in diffusers. */
  protected override get spreadLimits(): SpreadLimits {
    return this.config.use_karras_sigmas ? { sigma_min: null, sigma_max: null } : super.spreadLimits;
  }

  protected override takeStep(
    torch: Arithmetic,
    input: StepInput,
    options: DPMSolverSDEStepOptions | undefined,
  ): TakenStep {
    const known = ["eta", "generator", "sNoise"] as const;
    const { generator, sNoise = 1 } = checkOptions(options, known, "DPMSolverSDEScheduler.step");
    checkStepGenerator(generator, input.modelOutput);
    checkNumber(sNoise, "sNoise");
    const { modelOutput, sample } = input;
    const { step, isFirst, start } = this.halfOf(input);
    const sigma = torch.scalar(this.levelAt(2 * step));
    const next = torch.scalar(this.levelAt(2 * step + 1));
    const [t, tNext] = [minusLog(torch, sigma), minusLog(torch, next)];
    const tMiddle = halfway(torch, t, tNext);

    // 1. The clean sample
    const here = isFirst ? sigma : expMinus(torch, tMiddle);
    const predOriginalSample = this.predictOriginal(torch, modelOutput, sample, here);

    // 2. The last step: Euler's, to no noise
    if (this.levelAt(2 * step + 1) === 0) {
      const derivative = torch.div(torch.sub(sample, predOriginalSample), sigma);
      return {
        prevSample: torch.add(sample, torch.mul(derivative, torch.sub(next, sigma))),
        predOriginalSample,
      };
    }

    // 3. Down from the beginning, then the noise
    const { up, down } = split(torch, expMinus(torch, t), expMinus(torch, isFirst ? tMiddle : tNext));
    const tDown = minusLog(torch, down);
    const decayed = torch.mul(torch.div(expMinus(torch, tDown), expMinus(torch, t)), start);
    const lower = torch.sub(decayed, torch.mul(torch.op("expm1", torch.sub(t, tDown)), predOriginalSample));
    const noise = torch.mul(this.#noise(torch, input, generator), sNoise);
    const prevSample = torch.add(lower, torch.mul(noise, up));
    this.turnHalf(input);
    return { prevSample, predOriginalSample };
  }

  /** The increment of the Brownian motion from the beginning of the step to the end of this half, divided by its standard deviation. */
  #noise(torch: Arithmetic, { index, sample }: StepInput, generator: StepOptions["generator"]): Tensor {
    const fresh = torch.own(drawLike(sample, this.#seeded() ?? generator));
    if (!this.#firstNoise) {
      this.#firstNoise = keep(fresh);
      return fresh;
    }
    // Over the whole step: both halves' increments, each by the root of its share of the variance.
    const [sigma, next] = [this.levelAt(index - 1), this.levelAt(index)];
    const share = (sigma - Math.sqrt(sigma * next)) / (sigma - next);
    return torch.add(torch.mul(this.#firstNoise, Math.sqrt(share)), torch.mul(fresh, Math.sqrt(1 - share)));
  }

  #seeded(): Generator | undefined {
    const { noise_sampler_seed: seed } = this.config;
    if (seed !== null) this.#ownGenerator ??= Generator.fromSeed(seed);
    return this.#ownGenerator;
  }

  protected override turnHalf(input: StepInput): void {
    const ends = !this.stateInFirstOrder;
    super.turnHalf(input);
    if (ends) this.#forgetNoise();
  }

  #forgetNoise(): void {
    this.#firstNoise?.dispose();
    this.#firstNoise = undefined;
  }

  protected override forget(): void {
    super.forget();
    this.#forgetNoise();
    this.#ownGenerator?.dispose();
    this.#ownGenerator = undefined;
  }

  protected override adopt(other: this): void {
    super.adopt(other);
    if (other.#firstNoise) this.#firstNoise = keep(other.#firstNoise);
    this.#ownGenerator = other.#ownGenerator?.clone();
  }
}

/** The level in the middle of -log(sigma), in float32. */
function middleOf(sigma: number, next: number): number {
  const middle = compute((torch) =>
    expMinus(torch, halfway(torch, minusLog(torch, torch.scalar(sigma)), minusLog(torch, torch.scalar(next)))),
  );
  const value = Number(middle.dataSync()[0]);
  middle.dispose();
  return value;
}

function halfway(torch: Arithmetic, t: Tensor, next: Tensor): Tensor {
  return torch.add(t, torch.mul(torch.sub(next, t), 0.5));
}

function minusLog(torch: Arithmetic, sigma: Tensor): Tensor {
  return torch.op("neg", torch.op("log", sigma));
}

function expMinus(torch: Arithmetic, t: Tensor): Tensor {
  return torch.op("exp", torch.op("neg", t));
}

/** Split the level `to` into what is stepped down to, and fresh noise. */
function split(torch: Arithmetic, from: Tensor, to: Tensor): { readonly up: Tensor; readonly down: Tensor } {
  const [from2, to2] = [torch.pow(from, 2), torch.pow(to, 2)];
  const wanted = torch.pow(torch.div(torch.mul(to2, torch.sub(from2, to2)), from2), 0.5);
  const up = Number(wanted.dataSync()[0]) < Number(to.dataSync()[0]) ? wanted : to;
  return { up, down: torch.pow(torch.sub(to2, torch.pow(up, 2)), 0.5) };
}
