import type { Tensor } from "../../torch/tensor.js";
import type { Arithmetic } from "./arithmetic.js";
import type { PredictionType } from "./betas.js";
import { thresholdSample } from "./thresholding.js";

/** Compute the clean sample x_0 that a network's output means; `sqrtAlpha` and `sqrtBeta` are the roots of alpha_bar_t and 1 - alpha_bar_t. */
export function predictOriginal(
  torch: Arithmetic,
  type: PredictionType,
  { sqrtAlpha, sqrtBeta }: { readonly sqrtAlpha: Tensor; readonly sqrtBeta: Tensor },
  { modelOutput, sample }: { readonly modelOutput: Tensor; readonly sample: Tensor },
): Tensor {
  switch (type) {
    case "epsilon":
      return torch.div(torch.sub(sample, torch.mul(sqrtBeta, modelOutput)), sqrtAlpha);
    case "sample":
      return modelOutput;
    case "v_prediction":
      return torch.sub(torch.mul(sqrtAlpha, sample), torch.mul(sqrtBeta, modelOutput));
  }
}

/** The config keys that bound a predicted clean sample. */
interface LimitKeys {
  readonly thresholding: boolean;
  readonly dynamic_thresholding_ratio: number;
  readonly sample_max_value: number;
  readonly clip_sample: boolean;
  readonly clip_sample_range: number;
}

/** Threshold or clip a predicted clean sample, as the config says. */
export function limitOriginal(torch: Arithmetic, config: LimitKeys, predicted: Tensor): Tensor {
  const { thresholding, dynamic_thresholding_ratio: ratio, sample_max_value: max } = config;
  if (thresholding) return thresholdSample(torch, predicted, ratio, max);
  const { clip_sample: clips, clip_sample_range: range } = config;
  return clips ? torch.op("clamp", predicted, -range, range) : predicted;
}
