import type { Config, ConfigClass } from "../config/config.js";
import { boolean, oneOf } from "../config/fields.js";
import { LatentDiffusionError } from "../errors.js";
import type { Tensor } from "../torch/tensor.js";
import { checkOptions } from "../validate.js";
import {
  type GivenConfig,
  type Schedule,
  SchedulerBase,
  type ScheduleRequest,
  type StepInput,
  type TakenStep,
} from "./base.js";
import type { StepOptions } from "./contract.js";
import { keep, unsolvable } from "./shared/checks.js";
import { type Arithmetic, compute } from "./shared/arithmetic.js";
import { trainingFields, type TrainingKeys } from "./shared/betas.js";
import { checkedSpacing, spacingFields, type SpacingKeys } from "./shared/spacing.js";

/** The keys of a `PNDMScheduler`'s `scheduler_config.json`. `timestep_spacing` is `"leading"` by default. */
export interface PNDMConfigKeys extends TrainingKeys, SpacingKeys {
  /** Leave out the Runge-Kutta steps that the paper begins with; default false. */
  skip_prk_steps: boolean;
  /** Let the last step end at alpha 1 rather than at that of timestep 0; default false. */
  set_alpha_to_one: boolean;
  /** Default `"epsilon"`. */
  prediction_type: "epsilon" | "v_prediction";
}

export type PNDMConfig = Config<PNDMConfigKeys>;

/** The class's name, keys and defaults. */
export const PNDM_CLASS: ConfigClass<PNDMConfigKeys> = {
  className: "PNDMScheduler",
  fields: {
    ...trainingFields(),
    skip_prk_steps: boolean(false),
    set_alpha_to_one: boolean(false),
    prediction_type: oneOf("epsilon", ["epsilon", "v_prediction"]),
    ...spacingFields("leading"),
  },
};

/** The steps that begin with Runge-Kutta's method; each evaluates the network four times. */
const PRK_STEPS = 3;

/** Evaluations of the network in Runge-Kutta's steps. */
const PRK_EVALUATIONS = 4 * PRK_STEPS;

/** Between which timesteps an evaluation moves the sample. */
interface Move {
  readonly from: number;
  /** Below 0: the end of the run. */
  readonly to: number;
}

/** The numbers of formula (9), each a float32 tensor without dimensions. */
interface Transfer {
  readonly sqrtAlpha: Tensor;
  readonly sqrtBeta: Tensor;
  readonly sampleScale: Tensor;
  readonly difference: Tensor;
  readonly denominator: Tensor;
}

/**
 * Denoise by pseudo numerical methods (F-PNDM): three steps of Runge-Kutta's method, then the linear multistep method of order 4. N steps
 * evaluate the network N + 9 times, or N + 1 times with `skip_prk_steps`. diffusers predicts no clean sample here; `predOriginalSample`
 * is that of the evaluation itself, for previews.
 *
 * | variable | paper |
 * |---|---|
 * | `slope` | e', formulas (12) and (13) |
 * | `history` | e_theta of the steps before |
 * | `prevSample` | phi(x_t, e', t, t - delta), formula (9) |
 *
 * @see https://arxiv.org/abs/2202.09778 algorithm 2, diffusers.PNDMScheduler
 */
export class PNDMScheduler extends SchedulerBase<PNDMConfigKeys, StepOptions> {
  static readonly kind = PNDM_CLASS;
  /** Outputs of the network, oldest first. */
  #history: Tensor[] = [];
  /** The weighted sum of one Runge-Kutta step so far. */
  #sum: Tensor | undefined;
  /** The sample that a step of several evaluations began with. */
  #start: Tensor | undefined;

  /**
   * Make a scheduler of a config's keys; those left out have diffusers' defaults.
   * @throws InvalidArgumentError `ERR_INVALID_ARGUMENT` for an unknown key; LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` for a value
   */
  constructor(config: GivenConfig<PNDMConfigKeys> = {}) {
    super(PNDM_CLASS, config);
  }

  /** @throws LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` naming the timestep, where diffusers goes on with NaN or infinity */
  override checkSteps(options?: StepOptions): void {
    checkOptions(options, ["eta", "generator"], "PNDMScheduler.checkSteps");
    this.timesteps.forEach((timestep, i) => {
      compute((torch) => this.#transfer(torch, this.#move(i, timestep)).sampleScale).dispose();
    });
  }

  protected override schedule({ count }: ScheduleRequest): Schedule {
    const spaced = checkedSpacing(this.config, count);
    const { skip_prk_steps: skips, num_train_timesteps: total } = this.config;
    const least = skips ? 1 : PRK_STEPS + 1;
    if (count < least)
      throw new LatentDiffusionError(
        "ERR_CONFIG_UNSUPPORTED",
        `Expected ${least} steps or more for numInferenceSteps of a PNDMScheduler with skip_prk_steps ${skips} but received ${count}`,
      );
    // The second timestep is visited twice.
    if (skips) return { timesteps: [...spaced.slice(0, 2), ...spaced.slice(1)] };
    const half = Math.floor(Math.floor(total / count) / 2);
    const prk = spaced.slice(0, PRK_STEPS).flatMap((t, i) => {
      const next = spaced[i + 1] ?? 0;
      return [t, next + half, next + half, next];
    });
    const outside = prk.find((t) => t >= total);
    if (outside !== undefined) throw unsolvable("PNDM", `timestep ${outside}`, `the network knows ${total} timesteps`);
    return { timesteps: [...prk, ...spaced.slice(PRK_STEPS)] };
  }

  protected override indexForTimestep(timestep: number): number {
    // diffusers counts its steps from the beginning of the schedule, whatever the timestep is.
    super.indexForTimestep(timestep);
    return 0;
  }

  protected override takeStep(
    torch: Arithmetic,
    { index, timestep, modelOutput, sample }: StepInput,
    options: StepOptions | undefined,
  ): TakenStep {
    checkOptions(options, ["eta", "generator"], "PNDMScheduler.step");
    const transfer = this.#transfer(torch, this.#move(index, timestep));
    const predOriginalSample = this.#predict(torch, timestep, modelOutput, sample);
    const usesPrk = !this.config.skip_prk_steps && index < PRK_EVALUATIONS;
    const slope = usesPrk
      ? this.#rungeKutta(torch, index % 4, modelOutput, sample)
      : this.#multistep(torch, index, modelOutput, sample);
    const prevSample = this.#apply(torch, transfer, this.#start ?? sample, slope);
    if (usesPrk ? index % 4 === 3 : index === 1 || !this.config.skip_prk_steps) this.#forgetStart();
    return { prevSample, predOriginalSample };
  }

  protected override forget(): void {
    for (const tensor of this.#history) tensor.dispose();
    this.#history = [];
    this.#sum?.dispose();
    this.#sum = undefined;
    this.#forgetStart();
  }

  protected override adopt(other: this): void {
    this.#history = other.#history.map(keep);
    this.#sum = other.#sum && keep(other.#sum);
    this.#start = other.#start && keep(other.#start);
  }

  #forgetStart(): void {
    this.#start?.dispose();
    this.#start = undefined;
  }

  #remember(modelOutput: Tensor): void {
    while (this.#history.length > 3) this.#history.shift()?.dispose();
    this.#history.push(keep(modelOutput));
  }

  /** Find where an evaluation moves the sample from and to. */
  #move(index: number, timestep: number): Move {
    const stride = Math.floor(this.config.num_train_timesteps / (this.numInferenceSteps ?? 1));
    if (!this.config.skip_prk_steps && index < PRK_EVALUATIONS) {
      const from = this.timesteps[index - (index % 4)] ?? timestep;
      return { from, to: timestep - (index % 2 === 1 ? 0 : Math.floor(stride / 2)) };
    }
    if (index === 1) return { from: timestep + stride, to: timestep };
    return { from: timestep, to: timestep - stride };
  }

  /** The slope of formula (13), of four evaluations. */
  #rungeKutta(torch: Arithmetic, part: number, modelOutput: Tensor, sample: Tensor): Tensor {
    const weighted = torch.mul(modelOutput, part === 0 || part === 3 ? 1 / 6 : 1 / 3);
    if (part === 0) {
      this.#remember(modelOutput);
      this.#start = keep(sample);
    }
    const sum = this.#sum;
    // Python's sum begins with the number 0, which makes 0 of -0.
    const total = sum ? torch.add(sum, weighted) : torch.add(weighted, 0);
    this.#sum = part === 3 ? undefined : keep(total);
    sum?.dispose();
    return part === 3 ? total : modelOutput;
  }

  /** The slope of formula (12), of order 4 where the history is long enough. */
  #multistep(torch: Arithmetic, index: number, modelOutput: Tensor, sample: Tensor): Tensor {
    if (index !== 1) this.#remember(modelOutput);
    const [e1, e2, e3, e4] = this.#history.toReversed();
    if (index === 0) this.#start = keep(sample);
    if (!e1 || index === 0) return modelOutput;
    if (index === 1) return torch.div(torch.add(modelOutput, e1), 2);
    if (!e2) return modelOutput;
    if (!e3) return torch.div(torch.sub(torch.mul(e1, 3), e2), 2);
    if (!e4) {
      const two = torch.sub(torch.mul(e1, 23), torch.mul(e2, 16));
      return torch.div(torch.add(two, torch.mul(e3, 5)), 12);
    }
    const two = torch.sub(torch.mul(e1, 55), torch.mul(e2, 59));
    const four = torch.sub(torch.add(two, torch.mul(e3, 37)), torch.mul(e4, 9));
    return torch.mul(four, 1 / 24);
  }

  #alphaAt(timestep: number): number {
    const table = this.tables.alphasCumprod;
    if (timestep >= 0) return table[timestep] ?? NaN;
    return (this.config.set_alpha_to_one ? 1 : table[0]) ?? NaN;
  }

  /** Compute the numbers of formula (9), by `pow` as diffusers does, and refuse those that are not finite. */
  #transfer(torch: Arithmetic, { from, to }: Move): Transfer {
    const alpha = torch.scalar(this.#alphaAt(from));
    const alphaPrev = torch.scalar(this.#alphaAt(to));
    const beta = torch.rsub(alpha, 1);
    const first = torch.mul(alpha, torch.pow(torch.rsub(alphaPrev, 1), 0.5));
    const second = torch.pow(torch.mul(torch.mul(alpha, beta), alphaPrev), 0.5);
    const transfer = {
      sqrtAlpha: torch.pow(alpha, 0.5),
      sqrtBeta: torch.pow(beta, 0.5),
      sampleScale: torch.pow(torch.div(alphaPrev, alpha), 0.5),
      difference: torch.sub(alphaPrev, alpha),
      denominator: torch.add(first, second),
    };
    const finite = Object.values(transfer).every((value: Tensor) => Number.isFinite(Number(value.dataSync()[0])));
    if (finite && Number(transfer.denominator.dataSync()[0]) !== 0) return transfer;
    throw unsolvable("PNDM", `timestep ${from}`, "with the betas of this config its coefficients are not finite");
  }

  /** Formula (9). */
  #apply(torch: Arithmetic, transfer: Transfer, sample: Tensor, slope: Tensor): Tensor {
    const { sqrtAlpha, sqrtBeta, sampleScale, difference, denominator } = transfer;
    const epsilon =
      this.config.prediction_type === "epsilon"
        ? slope
        : torch.add(torch.mul(sqrtAlpha, slope), torch.mul(sqrtBeta, sample));
    return torch.sub(torch.mul(sampleScale, sample), torch.div(torch.mul(difference, epsilon), denominator));
  }

  #predict(torch: Arithmetic, timestep: number, modelOutput: Tensor, sample: Tensor): Tensor {
    const alpha = torch.scalar(this.#alphaAt(timestep));
    const sqrtAlpha = torch.pow(alpha, 0.5);
    const noise = torch.mul(torch.pow(torch.rsub(alpha, 1), 0.5), modelOutput);
    return this.config.prediction_type === "epsilon"
      ? torch.div(torch.sub(sample, noise), sqrtAlpha)
      : torch.sub(torch.mul(sqrtAlpha, sample), noise);
  }
}
