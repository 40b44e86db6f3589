import { LatentDiffusionError } from "../errors.js";
import { Generator } from "../torch/generator.js";
import type { ModuleSpec } from "../native/contract.js";
import { opAsync, type Tensor } from "../torch/tensor.js";
import { applyInTurn } from "../torch/transient.js";

type Shape = readonly number[];
type Initializer = (generator: Generator, name: string, shape: Shape, spec: ModuleSpec) => Promise<Tensor>;

const uniform = async (generator: Generator, shape: Shape, bound: number): Promise<Tensor> => {
  return applyInTurn(await Generator.draw(generator, "rand", shape), [
    (unit) => opAsync("mul.Scalar", unit, 2 * bound),
    (scaled) => opAsync("sub.Scalar", scaled, bound),
  ]);
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
  GroupNorm: (_generator, name, shape) => opAsync(name === "weight" ? "ones" : "zeros", shape),
  Embedding: (generator, _name, shape) => Generator.draw(generator, "randn", shape),
  Codebook: (generator, _name, shape) => uniform(generator, shape, 1 / (shape[0] ?? 1)),
  GaussianFourierProjection: async (generator, _name, shape) => {
    return applyInTurn(await Generator.draw(generator, "randn", shape), [(unit) => opAsync("mul.Scalar", unit, 16)]);
  },
};

/**
 * Draw the weights of a network that is to be trained, or measured; on the executor, since a large network takes seconds.
 * @param generator on the CPU; advanced by every draw, in the order of the parameters
 * @returns float32 tensors by full parameter name
 */
export async function initialWeights(spec: ModuleSpec, generator: Generator): Promise<Map<string, Tensor>> {
  const weights = new Map<string, Tensor>();
  try {
    await fill(weights, spec, generator, "");
    return weights;
  } catch (error) {
    weights.forEach((tensor) => tensor.dispose());
    throw error;
  }
}

async function fill(
  weights: Map<string, Tensor>,
  spec: ModuleSpec,
  generator: Generator,
  prefix: string,
): Promise<void> {
  const initialize = INITIALIZERS[spec.name];
  for (const [name, shape] of spec.parameters) {
    if (!initialize)
      throw new LatentDiffusionError("ERR_INTERNAL", `No initialisation is known for the parameters of ${spec.name}`);
    weights.set(prefix + name, await initialize(generator, name, shape, spec));
  }
  for (const [name, child] of spec.children) await fill(weights, child, generator, `${prefix}${name}.`);
}
