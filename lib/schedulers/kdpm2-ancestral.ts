import type { ConfigClass } from "../config/config.js";
import { Tensor } from "../torch/tensor.js";
import { checkOptions } from "../validate.js";
import type { GivenConfig, ScheduleRequest, StepInput, TakenStep } from "./base.js";
import type { StepOptions } from "./contract.js";
import { type Arithmetic, compute } from "./shared/arithmetic.js";
import { checkStepGenerator, unsolvable } from "./shared/checks.js";
import { interleave, middleLevels, twice } from "./shared/midpoint-levels.js";
import {
  midpointFields,
  type MidpointKeys,
  type MidpointSchedule,
  MidpointScheduler,
} from "./shared/midpoint-scheduler.js";
import { drawLike } from "./shared/noise.js";
import { withLast } from "./shared/sigma-scheduler.js";
import { roundHalfToEven } from "./shared/spacing.js";

/** The keys of a `KDPM2AncestralDiscreteScheduler`'s `scheduler_config.json`. */
export type KDPM2AncestralConfigKeys = MidpointKeys;

/** The class's name, keys and defaults. */
export const KDPM2_ANCESTRAL_CLASS: ConfigClass<KDPM2AncestralConfigKeys> = {
  className: "KDPM2AncestralDiscreteScheduler",
  fields: midpointFields,
};

/** What each step goes down to, and the noise that it adds. */
export interface AncestralSchedule extends MidpointSchedule {
  readonly downs: Float32Array;
  readonly ups: Float32Array;
}

/**
 * Denoise by DPM-Solver-2 with ancestral sampling as k-diffusion has it (`sample_dpm_2_ancestral`): each step goes below its noise level by
 * the midpoint rule, of order 2, and adds fresh noise up to it. N steps evaluate the network 2N - 1 times.
 *
 * | variable | k-diffusion |
 * |---|---|
 * | `up` | the standard deviation of the fresh noise |
 * | `down` | where the midpoint rule goes; up^2 + down^2 = sigma_next^2 |
 * | `middle` | in the middle of log(sigma) and log(down) |
 *
 * @see https://arxiv.org/abs/2206.00927 algorithm 1; diffusers.KDPM2AncestralDiscreteScheduler
 */
export class KDPM2AncestralDiscreteScheduler extends MidpointScheduler<KDPM2AncestralConfigKeys> {
  static readonly kind = KDPM2_ANCESTRAL_CLASS;

  /**
   * Make a scheduler of a config's keys; those left out have diffusers' defaults.
   * @throws InvalidArgumentError `ERR_INVALID_ARGUMENT` for an unknown key; LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` for a value
   */
  constructor(config: GivenConfig<KDPM2AncestralConfigKeys> = {}) {
    super(KDPM2_ANCESTRAL_CLASS, config);
  }

  /** @throws LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` for what cannot be stepped with */
  override checkSteps(options?: StepOptions): void {
    checkOptions(options, ["eta", "generator"], "KDPM2AncestralDiscreteScheduler.checkSteps");
    this.checkHalves();
    const { downs, ups, timesteps } = this.current;
    for (let step = 0; 2 * step < timesteps.length - 1; step++)
      if (!(this.middleAt(step) > 0) || !((downs[step] ?? NaN) >= 0) || !((ups[step] ?? NaN) >= 0))
        throw unsolvable(
          this.className,
          `timestep ${timesteps[2 * step]}`,
          "the noise level falls so far that nothing but fresh noise is left; take more steps",
        );
  }

  protected override get current(): AncestralSchedule {
    return super.current as AncestralSchedule;
  }

  protected override schedule({ count }: ScheduleRequest): AncestralSchedule {
    const { timesteps, sigmas, spread } = this.spaced(count);
    const levels = withLast(sigmas, 0);
    const { downs, ups } = splitNext(levels);
    const middles = middleLevels(levels, downs).fill(0, -2);
    return {
      timesteps: interleave(
        spread === "karras" ? timesteps.map(roundHalfToEven) : timesteps,
        this.timestepsOf(middles).map(Math.fround),
      ),
      sigmas: twice(levels),
      middles,
      downs,
      ups,
    };
  }

  protected override takeStep(torch: Arithmetic, input: StepInput, options: StepOptions | undefined): TakenStep {
    const { generator } = checkOptions(options, ["eta", "generator"], "KDPM2AncestralDiscreteScheduler.step");
    checkStepGenerator(generator, input.modelOutput);
    const step = input.index >> 1;
    const { downs, ups } = this.current;
    const isFirst = this.stateInFirstOrder;
    const half = this.takeHalf(torch, input, torch.scalar(this.middleAt(step)), torch.scalar(downs[step] ?? NaN));
    if (isFirst) return half;
    const noise = torch.own(drawLike(input.modelOutput, generator));
    return { ...half, prevSample: torch.add(half.prevSample, torch.mul(noise, torch.scalar(ups[step] ?? NaN))) };
  }
}

/** Split the level after each level into what is stepped down to, and fresh noise. */
function splitNext(levels: Float32Array): { readonly downs: Float32Array; readonly ups: Float32Array } {
  const next = Float32Array.of(...levels.subarray(1), 0);
  const tables = compute((torch) => {
    const squares = torch.pow(torch.own(Tensor.from(levels)), 2);
    const nextSquares = torch.pow(torch.own(Tensor.from(next)), 2);
    const product = torch.mul(nextSquares, torch.sub(squares, nextSquares));
    const ups = torch.pow(torch.div(product, squares), 0.5);
    return { ups, downs: torch.pow(torch.sub(nextSquares, torch.pow(ups, 2)), 0.5) };
  });
  try {
    const copy = (table: Tensor): Float32Array => Float32Array.from(table.dataSync() as Float32Array);
    return { ups: copy(tables.ups), downs: copy(tables.downs).fill(0, -1) };
  } finally {
    tables.ups.dispose();
    tables.downs.dispose();
  }
}
