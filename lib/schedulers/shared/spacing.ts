import { LatentDiffusionError } from "../../errors.js";
import { type Field, integer, MAX_TRAIN_TIMESTEPS, oneOf } from "../../config/fields.js";

/** Which of the training timesteps a run visits. @see https://arxiv.org/abs/2305.08891 table 2 */
export type TimestepSpacing = "leading" | "linspace" | "trailing";

/** The config keys that choose the timesteps of a run. */
export interface SpacingKeys {
  /** How the timesteps of a run are spread over those of training. */
  timestep_spacing: TimestepSpacing;
  /** Added to the timesteps of `"leading"` spacing; default 0. */
  steps_offset: number;
}

/** The fields of {@link SpacingKeys}. */
export function spacingFields(fallback: TimestepSpacing): {
  readonly timestep_spacing: Field<TimestepSpacing>;
  readonly steps_offset: Field<number>;
} {
  return {
    timestep_spacing: oneOf(fallback, ["leading", "linspace", "trailing"]),
    steps_offset: integer(0, { min: 0, max: MAX_TRAIN_TIMESTEPS }),
  };
}

/**
 * Choose the training timesteps that a run visits, in numpy's float64 arithmetic, latest first.
 * @param spacing a row of table 2 of https://arxiv.org/abs/2305.08891
 * @param numTrainTimesteps T, the timesteps of training
 * @param numInferenceSteps N, at least 1
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
      return linspace(0, numTrainTimesteps - 1, numInferenceSteps)
        .map(roundHalfToEven)
        .reverse();
    case "trailing":
      return arangeDown(numTrainTimesteps, numTrainTimesteps / numInferenceSteps).map(
        (value) => roundHalfToEven(value) - 1,
      );
  }
}

/**
 * As {@link spaceTimesteps}, with the fractions that `"linspace"` gives, rounded to float32.
 * @see diffusers.EulerDiscreteScheduler.set_timesteps
 */
export function spaceFractions(
  spacing: TimestepSpacing,
  numTrainTimesteps: number,
  numInferenceSteps: number,
  stepsOffset: number,
): number[] {
  if (spacing !== "linspace") return spaceTimesteps(spacing, numTrainTimesteps, numInferenceSteps, stepsOffset);
  return linspace(0, numTrainTimesteps - 1, numInferenceSteps)
    .map(Math.fround)
    .reverse();
}

/**
 * As {@link spaceTimesteps}, with the run's end, timestep 0, as one more entry that is left out.
 * @param last how many training timesteps are visited at all, counted from 0
 * @see diffusers.DPMSolverMultistepScheduler.set_timesteps
 */
export function spaceIntervals(
  spacing: TimestepSpacing,
  numTrainTimesteps: number,
  numInferenceSteps: number,
  stepsOffset: number,
  last: number,
): number[] {
  switch (spacing) {
    case "leading": {
      const ratio = Math.floor(last / (numInferenceSteps + 1));
      return Array.from({ length: numInferenceSteps }, (_, i) => (numInferenceSteps - i) * ratio + stepsOffset);
    }
    case "linspace":
      return linspace(0, last - 1, numInferenceSteps + 1)
        .slice(1)
        .map(roundHalfToEven)
        .reverse();
    case "trailing":
      return arangeDown(last, numTrainTimesteps / numInferenceSteps).map((value) => roundHalfToEven(value) - 1);
  }
}

/**
 * As {@link spaceTimesteps}, within the training timesteps.
 * @throws LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` where the spacing leaves them, as `steps_offset` 1 does with 1000 steps of 1000
 */
export function checkedSpacing(
  {
    num_train_timesteps: total,
    timestep_spacing: spacing,
    steps_offset: offset,
  }: SpacingKeys & { num_train_timesteps: number },
  count: number,
): number[] {
  const timesteps = spaceTimesteps(spacing, total, count, offset);
  const outside = timesteps.find((t) => t < 0 || t >= total);
  if (outside === undefined) return timesteps;
  throw new LatentDiffusionError(
    "ERR_CONFIG_UNSUPPORTED",
    `timestep_spacing "${spacing}" with steps_offset ${offset} and ${count} steps visits timestep ${outside}, outside 0 to ${total - 1}; take another number of steps`,
  );
}

/** numpy.linspace(start, stop, count): the step is rounded once, and the last value is `stop` itself. */
export function linspace(start: number, stop: number, count: number): number[] {
  const step = (stop - start) / (count - 1);
  return Array.from({ length: count }, (_, i) => (i === 0 ? start : i === count - 1 ? stop : i * step + start));
}

/** numpy.arange(start, 0, -step): its length is a rounded quotient, its step what start and the second value differ by. */
function arangeDown(start: number, step: number): number[] {
  const effective = start - step - start;
  return Array.from({ length: Math.ceil(start / step) }, (_, i) => (i === 1 ? start - step : start + i * effective));
}

/** numpy.round for values of at least 0. */
export function roundHalfToEven(value: number): number {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 === 1 ? rounded - 1 : rounded;
}
