import { LatentDiffusionError } from "../errors.js";
import type { Generator } from "../generator.js";
import type { ModuleSpec } from "../native.js";
import { op, type Tensor } from "../tensor.js";

type Shape = readonly number[];
type Initializer = (generator: Generator, name: string, shape: Shape, spec: ModuleSpec) => Tensor;

const uniform = (generator: Generator, shape: Shape, bound: number): Tensor => {
  using unit = generator.rand(shape);
  using scaled = op("mul.Scalar", unit, 2 * bound);
  return op("sub.Scalar", scaled, bound);
};

/** Kaiming's uniform with a = sqrt(5), which is 1 / sqrt(fan in); the bias has the bound of its weight. */
const fanIn: Initializer = (generator, _name, shape, spec) => {
  const weight = spec.parameters.find(([name]) => name === "weight")?.[1] ?? shape;
  const fan = weight.slice(1).reduce((product, size) => product * size, 1);
  return uniform(generator, shape, 1 / Math.sqrt(fan));
};

/** PyTorch's (and, for the codebook and the frequencies, diffusers') initialisation of each class that owns parameters. */
const INITIALIZERS: Readonly<Record<string, Initializer>> = {
  Conv2d: fanIn,
  Linear: fanIn,
  GroupNorm: (_generator, name, shape) => op(name === "weight" ? "ones" : "zeros", shape),
  Embedding: (generator, _name, shape) => generator.randn(shape),
  Codebook: (generator, _name, shape) => uniform(generator, shape, 1 / (shape[0] ?? 1)),
  GaussianFourierProjection: (generator, _name, shape) => {
    using unit = generator.randn(shape);
    return op("mul.Scalar", unit, 16);
  },
};

/**
 * Draw the weights of a network that is to be trained, or measured.
 * @param generator on the CPU; advanced by every draw, in the order of the parameters
 * @returns float32 tensors by full parameter name
 */
export function initialWeights(spec: ModuleSpec, generator: Generator, prefix = ""): Map<string, Tensor> {
  const initialize = INITIALIZERS[spec.name];
  if (!initialize && spec.parameters.length > 0) {
    throw new LatentDiffusionError("ERR_INTERNAL", `No initialisation is known for the parameters of ${spec.name}`);
  }
  const weights = new Map(spec.parameters.map(([name, shape]) => [prefix + name, initialize?.(generator, name, shape, spec)] as [string, Tensor]));
  for (const [name, child] of spec.children) {
    for (const [full, tensor] of initialWeights(child, generator, `${prefix}${name}.`)) weights.set(full, tensor);
  }
  return weights;
}
