import { MAX_TRAIN_TIMESTEPS } from "../../config/fields.js";
import { InvalidArgumentError, LatentDiffusionError } from "../../errors.js";
import { op, Tensor } from "../../torch/tensor.js";
import { checkNumber, isArray, unexpected } from "../../validate.js";
import { checkGenerators } from "./noise.js";

/** Hold a tensor beyond the step that made it: another handle of the same memory. */
export function keep(tensor: Tensor): Tensor {
  return op("reshape", tensor, tensor.shape);
}

/** A step that diffusers computes too, as NaN or infinity. */
export function unsolvable(name: string, where: string, why: string): LatentDiffusionError {
  return new LatentDiffusionError("ERR_CONFIG_UNSUPPORTED", `${name} cannot step at ${where}: ${why}`);
}

/** Check the generator of a step that draws. */
export function checkStepGenerator(generator: unknown, modelOutput: Tensor): void {
  if (generator !== undefined) checkGenerators(generator, modelOutput.shape[0] ?? 1, modelOutput.device);
}

/** Check two tensors of one shape. @throws InvalidArgumentError `ERR_INVALID_ARGUMENT` */
export function checkSameShape(expected: unknown, expectedName: string, tensor: unknown, name: string): void {
  if (!(tensor instanceof Tensor)) throw unexpected("a Tensor", name, tensor);
  if (!(expected instanceof Tensor)) throw unexpected("a Tensor", expectedName, expected);
  if (tensor.shape.join() === expected.shape.join()) return;
  throw new InvalidArgumentError(
    `Expected the shape [${expected.shape.join(", ")}] of ${expectedName} for ${name} but received [${tensor.shape.join(", ")}]`,
  );
}

/** Check a list of noise levels, or the like. @throws InvalidArgumentError `ERR_INVALID_ARGUMENT` */
export function checkNumbers(list: unknown, option: string): readonly number[] {
  if (!isArray(list) || list.length === 0 || list.length > MAX_TRAIN_TIMESTEPS)
    throw unexpected(`an array of 1 to ${MAX_TRAIN_TIMESTEPS} numbers`, option, list);
  return list.map((value, i) => checkNumber(value, `${option}[${i}]`));
}

/** Check timesteps that fall. @throws InvalidArgumentError `ERR_INVALID_ARGUMENT` */
export function checkTimesteps(list: unknown): readonly number[] {
  const timesteps = checkNumbers(list, "timesteps");
  const at = timesteps.findIndex((value, i) => value < 0 || (i > 0 && value >= (timesteps[i - 1] ?? NaN)));
  if (at >= 0)
    throw unexpected(
      "a number of at least 0 that is smaller than the one before it",
      `timesteps[${at}]`,
      timesteps[at],
    );
  return timesteps;
}
