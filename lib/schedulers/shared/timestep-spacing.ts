import type { TimestepSpacing } from "../ddim-config.js";

/**
 * Choose the training timesteps that a run visits, in numpy's float64 arithmetic, latest first.
 * @param spacing a row of table 2 of https://arxiv.org/abs/2305.08891
 * @param numTrainTimesteps T, the timesteps of training
 * @param numInferenceSteps N, from 1 to T
 * @param stepsOffset added by `"leading"` only
 * @returns integers; some settings of diffusers leave [0, T - 1] or give N + 1 of them, which callers refuse
 * @see diffusers.DDIMScheduler.set_timesteps
 */
export function spaceTimesteps(
  spacing: TimestepSpacing,
  numTrainTimesteps: number,
  numInferenceSteps: number,
  stepsOffset: number,
): number[] {
  switch (spacing) {
    case "leading": {
      const ratio = Math.floor(numTrainTimesteps / numInferenceSteps);
      return Array.from({ length: numInferenceSteps }, (_, i) => (numInferenceSteps - 1 - i) * ratio + stepsOffset);
    }
    case "linspace":
      return linspace(numTrainTimesteps - 1, numInferenceSteps)
        .map(roundHalfToEven)
        .reverse();
    case "trailing":
      return arangeDown(numTrainTimesteps, numTrainTimesteps / numInferenceSteps).map(
        (value) => roundHalfToEven(value) - 1,
      );
  }
}

/** numpy.linspace(0, stop, count): the step is rounded once, and the last value is `stop` itself. */
function linspace(stop: number, count: number): number[] {
  const step = stop / (count - 1);
  return Array.from({ length: count }, (_, i) => (i === 0 ? 0 : i === count - 1 ? stop : i * step));
}

/** numpy.arange(start, 0, -step): its length is a rounded quotient, its step what start and the second value differ by. */
function arangeDown(start: number, step: number): number[] {
  const effective = start - step - start;
  return Array.from({ length: Math.ceil(start / step) }, (_, i) => (i === 1 ? start - step : start + i * effective));
}

/** numpy.round for values of at least 0. */
function roundHalfToEven(value: number): number {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 === 1 ? rounded - 1 : rounded;
}
