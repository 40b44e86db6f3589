import { randomBytes } from "node:crypto";
import { InvalidArgumentError } from "../../errors.js";
import { Generator } from "../../torch/generator.js";
import type { Device, DType } from "../../native/contract.js";
import { type Tensor } from "../../torch/tensor.js";
import { isArray, unexpected } from "../../validate.js";
import { compute } from "./arithmetic.js";

/**
 * Draw standard normal noise: from one generator for the batch, or from one an image. A generator on the CPU serves every
 * device, with the same numbers.
 * @param shape `[batch, ...]`
 * @see diffusers.utils.torch_utils.randn_tensor
 */
export function drawNoise(
  shape: readonly number[],
  generator: Generator | readonly Generator[],
  device: Device,
  dtype: DType,
): Tensor {
  return compute((torch) => {
    const draw = (from: Generator, size: readonly number[]): Tensor => {
      const noise = torch.own(from.randn(size, { dtype }));
      return noise.device === device ? noise : torch.op("to.device", noise, device, dtype);
    };
    if (generator instanceof Generator) return draw(generator, shape);
    const each = [1, ...shape.slice(1)];
    return torch.op(
      "cat",
      generator.map((from) => draw(from, each)),
      0,
    );
  });
}

/**
 * Check that generators can draw for a batch: one, or exactly one an image, on the CPU or on the device itself.
 * @throws InvalidArgumentError `ERR_INVALID_ARGUMENT`
 */
export function checkGenerators(value: unknown, batchSize: number, device: Device): Generator | readonly Generator[] {
  const list: readonly unknown[] = isArray(value) ? value : [value];
  if (isArray(value) && value.length !== batchSize) {
    throw new InvalidArgumentError(
      `Expected ${batchSize} generators, one an image, for generator but received an array of length ${value.length}`,
    );
  }
  list.forEach((item, i) => {
    const option = isArray(value) ? `generator[${i}]` : "generator";
    if (!(item instanceof Generator)) throw unexpected("a Generator", option, item);
    if (item.device !== "cpu" && item.device !== device) {
      throw new InvalidArgumentError(
        `Expected a generator on cpu or ${device} for ${option} but received one on ${item.device}`,
      );
    }
  });
  return value as Generator | readonly Generator[];
}

/** Make a generator that nothing can predict. */
export function randomGenerator(): Generator {
  return Generator.fromSeed(randomBytes(8).readBigUInt64LE());
}

/**
 * Draw noise of a tensor's shape, dtype and device.
 * @param generator undefined: a new one, seeded at random
 */
export function drawLike(like: Tensor, generator: Generator | readonly Generator[] | undefined): Tensor {
  const { shape, device, dtype } = like;
  if (generator !== undefined) return drawNoise(shape, generator, device, dtype);
  const own = randomGenerator();
  try {
    return drawNoise(shape, own, device, dtype);
  } finally {
    own.dispose();
  }
}
