import type { ConfigClass } from "../config/config.js";
import type { DType } from "../native/contract.js";
import type { Tensor } from "../torch/tensor.js";
import { checkNumber, checkOptions } from "../validate.js";
import type { StepInput, TakenStep } from "./base.js";
import type { GivenConfig } from "./configured.js";
import type { SchedulerOutput, StepOptions } from "./contract.js";
import type { Arithmetic } from "./shared/arithmetic.js";
import { checkStepGenerator, keep } from "./shared/checks.js";
import { consistencyFields, type ConsistencyKeys, ConsistencyScheduler } from "./shared/consistency-scheduler.js";
import { drawLike } from "./shared/noise.js";

/**
 * The keys of a `TCDScheduler`'s `scheduler_config.json`. As in diffusers, its steps use neither `clip_sample` nor `thresholding` nor
 * `timestep_scaling`.
 */
export type TCDConfigKeys = ConsistencyKeys;

/** The class's name, keys and defaults. */
export const TCD_CLASS: ConfigClass<TCDConfigKeys> = { className: "TCDScheduler", fields: consistencyFields };

/** Options of {@link TCDScheduler.step}. */
export interface TCDStepOptions extends StepOptions {
  /** The paper's gamma, in [0, 1]: how far a step goes below the next timestep before fresh noise brings it back; default 0.3. */
  eta?: number;
}

/** What {@link TCDScheduler.step} returns. @see diffusers.schedulers.scheduling_tcd.TCDSchedulerOutput */
export interface TCDSchedulerOutput extends SchedulerOutput {
  readonly predOriginalSample: Tensor;
  /** x_s, before fresh noise is added. */
  readonly predNoisedSample: Tensor;
}

/** What is left of the clean sample, from 0 to 1. */
interface StepAlphas {
  /** At the step's timestep t. */
  readonly alpha: number;
  /** At the next timestep. */
  readonly alphaNext: number;
  /** At timestep s = (1 - gamma) times the next one. */
  readonly alphaS: number;
}

/**
 * Denoise by strategic stochastic sampling: each step jumps along the trajectory to timestep s, below the next one, and adds fresh noise
 * up to that. For networks that were distilled to it; with others and `eta` 0 it is nearly DDIM. A run has at most
 * `original_inference_steps` steps. diffusers returns no `predOriginalSample`; this one is its intermediate value.
 *
 * | variable | paper |
 * |---|---|
 * | `eta` | gamma |
 * | `predNoisedSample` | x_s, formula (11) |
 * | `predOriginalSample` | x_0 |
 *
 * @see https://arxiv.org/abs/2402.19159 algorithm 4, diffusers.TCDScheduler
 */
export class TCDScheduler extends ConsistencyScheduler<TCDConfigKeys, TCDStepOptions> {
  static readonly kind = TCD_CLASS;
  static override readonly compatibles: readonly string[] = ["TCDScheduler"];

  /**
   * Make a scheduler of a config's keys; those left out have diffusers' defaults.
   * @throws InvalidArgumentError `ERR_INVALID_ARGUMENT` for an unknown key; LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` for a value
   */
  constructor(config: GivenConfig<TCDConfigKeys> = {}) {
    super(TCD_CLASS, config);
  }

  /** @throws LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` naming the timestep, where diffusers goes on with NaN or infinity */
  override checkSteps(options?: TCDStepOptions): void {
    const { eta } = checkTCDOptions(options, "checkSteps");
    for (const [index, timestep] of this.timesteps.entries()) this.#alphas(index, timestep, eta);
  }

  override step<D extends DType>(
    modelOutput: Tensor,
    timestep: number,
    sample: Tensor<D>,
    options?: TCDStepOptions,
  ): TCDSchedulerOutput & TakenStep<D> {
    return super.step(modelOutput, timestep, sample, options) as TCDSchedulerOutput & TakenStep<D>;
  }

  protected override get visitsAll(): boolean {
    return true;
  }

  protected override takeStep(
    torch: Arithmetic,
    { index, timestep, modelOutput, sample }: StepInput,
    options: TCDStepOptions | undefined,
  ): TakenStep {
    const { eta, generator } = checkTCDOptions(options, "step");
    checkStepGenerator(generator, modelOutput);
    const { alpha, alphaNext, alphaS } = this.#alphas(index, timestep, eta);

    // 1. x_0, and the noise that goes with it
    const { original, epsilon } = this.#predict(torch, alpha, modelOutput, sample);

    // 2. x_s of formula (11)
    const alphaOfS = torch.scalar(alphaS);
    const [scale, spread] = [torch.op("sqrt", alphaOfS), torch.op("sqrt", torch.rsub(alphaOfS, 1))];
    const predNoisedSample = torch.add(torch.mul(scale, original), torch.mul(spread, epsilon));
    const outputs = { predNoisedSample, predOriginalSample: original };

    // 3. Fresh noise up to the next timestep; a deterministic run leaves its generator alone
    if (eta === 0 || index === this.timesteps.length - 1)
      return { prevSample: torch.own(keep(predNoisedSample)), ...outputs };
    const ratio = torch.div(torch.scalar(alphaNext), alphaOfS);
    const noise = torch.own(drawLike(predNoisedSample, generator));
    const kept = torch.mul(torch.op("sqrt", ratio), predNoisedSample);
    return { prevSample: torch.add(kept, torch.mul(torch.op("sqrt", torch.rsub(ratio, 1)), noise)), ...outputs };
  }

  /** Look a step's alphas up, and refuse a step that divides by nothing or takes the root of less. */
  #alphas(index: number, timestep: number, eta: number): StepAlphas {
    const next = this.timesteps[index + 1] ?? 0;
    const s = Math.floor(Math.fround(Math.fround(1 - eta) * next));
    const [alpha, alphaNext, alphaS] = [this.alphaAt(timestep), this.alphaAt(next), this.alphaAt(s)];
    this.checkPrediction(timestep, alpha);
    if (this.config.prediction_type === "sample" && Math.fround(1 - alpha) === 0)
      throw this.cannotStep(timestep, "there is no noise to remove: the betas up to it are 0 in float32");
    if (alphaS === 0 || alphaNext > alphaS)
      throw this.cannotStep(
        timestep,
        `the betas leave ${alphaS} of the sample's variance at timestep ${s}, and ${alphaNext} at ${next}`,
      );
    return { alpha, alphaNext, alphaS };
  }

  /** x_0 and e_theta, of which the network gave one, or a mixture; roots are taken as diffusers takes them. */
  #predict(
    torch: Arithmetic,
    alpha: number,
    modelOutput: Tensor,
    sample: Tensor,
  ): { readonly original: Tensor; readonly epsilon: Tensor } {
    const alphaProd = torch.scalar(alpha);
    const betaProd = torch.rsub(alphaProd, 1);
    const [powAlpha, powBeta] = [torch.pow(alphaProd, 0.5), torch.pow(betaProd, 0.5)];
    switch (this.config.prediction_type) {
      case "epsilon": {
        const noise = torch.mul(torch.op("sqrt", betaProd), modelOutput);
        return { original: torch.div(torch.sub(sample, noise), torch.op("sqrt", alphaProd)), epsilon: modelOutput };
      }
      case "sample":
        return {
          original: modelOutput,
          epsilon: torch.div(torch.sub(sample, torch.mul(powAlpha, modelOutput)), powBeta),
        };
      case "v_prediction":
        return {
          original: torch.sub(torch.mul(powAlpha, sample), torch.mul(powBeta, modelOutput)),
          epsilon: torch.add(torch.mul(powAlpha, modelOutput), torch.mul(powBeta, sample)),
        };
    }
  }
}

function checkTCDOptions(
  options: TCDStepOptions | undefined,
  method: string,
): { readonly eta: number; readonly generator: StepOptions["generator"] } {
  const { eta = 0.3, generator } = checkOptions(options, ["eta", "generator"], `TCDScheduler.${method}`);
  return { eta: checkNumber(eta, "eta", 0, 1), generator };
}
