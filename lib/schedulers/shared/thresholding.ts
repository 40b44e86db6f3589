import type { Tensor } from "../../torch/tensor.js";
import type { Arithmetic } from "./arithmetic.js";

/**
 * Threshold a predicted clean sample dynamically: each image is clipped to a quantile of its magnitudes and divided by it, so
 * that saturated values move inwards.
 * @param sample floating `[batch, channels, ...]`; 16-bit ones are computed in float32
 * @param ratio the quantile, in [0, 1]
 * @param maxValue the largest threshold; the least is 1
 * @returns the sample's shape and dtype
 * @see https://arxiv.org/abs/2205.11487 section 2.3, diffusers.DDPMScheduler._threshold_sample
 */
export function thresholdSample(torch: Arithmetic, sample: Tensor, ratio: number, maxValue: number): Tensor {
  const [batch = 1, ...rest] = sample.shape;
  const isNarrow = sample.dtype !== "float32" && sample.dtype !== "float64";
  const wide = isNarrow ? torch.op("to.dtype", sample, "float32") : sample;
  // Per image: [batch, channels * height * width]
  const flat = torch.op("reshape", wide, [batch, rest.reduce((product, size) => product * size, 1)]);
  const quantiles = torch.op("quantile.scalar", torch.op("abs", flat), ratio, 1);
  const s = torch.op("unsqueeze", torch.op("clamp", quantiles, 1, maxValue), 1);
  const inward = torch.div(torch.op("clamp.Tensor", flat, torch.op("neg", s), s), s);
  const shaped = torch.op("reshape", inward, sample.shape);
  return isNarrow ? torch.op("to.dtype", shaped, sample.dtype) : shaped;
}
