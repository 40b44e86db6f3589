import type { ConfigClass } from "../config/config.js";
import { keep } from "./shared/checks.js";
import type { DType } from "../native/contract.js";
import type { Tensor } from "../torch/tensor.js";
import { checkOptions } from "../validate.js";
import type { StepInput, TakenStep } from "./base.js";
import type { GivenConfig } from "./configured.js";
import type { SchedulerOutput, StepOptions } from "./contract.js";
import type { Arithmetic } from "./shared/arithmetic.js";
import { checkStepGenerator } from "./shared/checks.js";
import { consistencyFields, type ConsistencyKeys, ConsistencyScheduler } from "./shared/consistency-scheduler.js";
import { drawLike } from "./shared/noise.js";
import { limitOriginal, predictOriginal } from "./shared/clean-sample.js";

/** The keys of an `LCMScheduler`'s `scheduler_config.json`. */
export type LCMConfigKeys = ConsistencyKeys;

/** The class's name, keys and defaults. */
export const LCM_CLASS: ConfigClass<LCMConfigKeys> = { className: "LCMScheduler", fields: consistencyFields };

/** What {@link LCMScheduler.step} returns. @see diffusers.schedulers.scheduling_lcm.LCMSchedulerOutput */
export interface LCMSchedulerOutput extends SchedulerOutput {
  readonly predOriginalSample: Tensor;
  /** The clean sample of the consistency function; `predOriginalSample` is the same. */
  readonly denoised: Tensor;
}

/** The standard deviation of the data that the boundary conditions assume. */
const SIGMA_DATA = 0.5;

/**
 * Denoise by multistep consistency sampling: each step jumps to the clean sample, and adds fresh noise up to the next timestep. For networks
 * that were distilled to it; others give blurred pictures. A run has at most `original_inference_steps` steps.
 *
 * | variable | paper |
 * |---|---|
 * | `skip`, `out` | c_skip(t), c_out(t) |
 * | `denoised` | f_theta(x_t, t) |
 *
 * @see https://arxiv.org/abs/2310.04378 formula (9) and algorithm 3, diffusers.LCMScheduler
 */
export class LCMScheduler extends ConsistencyScheduler<LCMConfigKeys, StepOptions> {
  static readonly kind = LCM_CLASS;
  static override readonly compatibles: readonly string[] = ["LCMScheduler"];

  /**
   * Make a scheduler of a config's keys; those left out have diffusers' defaults.
   * @throws InvalidArgumentError `ERR_INVALID_ARGUMENT` for an unknown key; LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` for a value
   */
  constructor(config: GivenConfig<LCMConfigKeys> = {}) {
    super(LCM_CLASS, config);
  }

  /** @throws LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` naming the timestep, where diffusers goes on with NaN or infinity */
  override checkSteps(options?: StepOptions): void {
    checkOptions(options, ["eta", "generator"], "LCMScheduler.checkSteps");
    for (const timestep of this.timesteps) this.#check(timestep);
  }

  override step<D extends DType>(
    modelOutput: Tensor,
    timestep: number,
    sample: Tensor<D>,
    options?: StepOptions,
  ): LCMSchedulerOutput & TakenStep<D> {
    return super.step(modelOutput, timestep, sample, options) as LCMSchedulerOutput & TakenStep<D>;
  }

  protected override get visitsAll(): boolean {
    return false;
  }

  protected override takeStep(
    torch: Arithmetic,
    { index, timestep, modelOutput, sample }: StepInput,
    options: StepOptions | undefined,
  ): TakenStep {
    const { generator } = checkOptions(options, ["eta", "generator"], "LCMScheduler.step");
    checkStepGenerator(generator, modelOutput);
    const alpha = torch.scalar(this.#check(timestep));
    const roots = { sqrtAlpha: torch.op("sqrt", alpha), sqrtBeta: torch.op("sqrt", torch.rsub(alpha, 1)) };

    // 1. The clean sample that the network's output means, clipped or thresholded
    const predicted = limitOriginal(
      torch,
      this.config,
      predictOriginal(torch, this.config.prediction_type, roots, { modelOutput, sample }),
    );

    // 2. The consistency function: the sample itself at timestep 0
    const { skip, out } = this.#boundary(torch, timestep);
    const denoised = torch.add(torch.mul(out, predicted), torch.mul(skip, sample));

    // 3. Fresh noise up to the next timestep
    const outputs = { denoised, predOriginalSample: torch.own(keep(denoised)) };
    const next = this.timesteps[index + 1];
    if (next === undefined) return { prevSample: torch.own(keep(denoised)), ...outputs };
    const alphaNext = torch.scalar(this.alphaAt(next));
    const noise = torch.own(drawLike(denoised, generator));
    const spread = torch.op("sqrt", torch.rsub(alphaNext, 1));
    const prevSample = torch.add(torch.mul(torch.op("sqrt", alphaNext), denoised), torch.mul(spread, noise));
    return { prevSample, ...outputs };
  }

  #check(timestep: number): number {
    const alpha = this.alphaAt(timestep);
    // Clipping brings infinities back; a quantile of infinities is none.
    if (this.config.thresholding || !this.config.clip_sample) this.checkPrediction(timestep, alpha);
    return alpha;
  }

  /** c_skip and c_out, in float32. */
  #boundary(torch: Arithmetic, timestep: number): { readonly skip: Tensor; readonly out: Tensor } {
    const scaled = torch.mul(torch.scalar(timestep), this.config.timestep_scaling);
    const variance = torch.add(torch.pow(scaled, 2), SIGMA_DATA ** 2);
    return {
      skip: torch.mul(torch.op("reciprocal", variance), SIGMA_DATA ** 2),
      out: torch.div(scaled, torch.pow(variance, 0.5)),
    };
  }
}
