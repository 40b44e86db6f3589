// The levels in the middle of steps, and how diffusers lays both out.
import { Tensor } from "../../torch/tensor.js";
import { compute } from "./arithmetic.js";

/** exp of the mean of two tables' logarithms, entry by entry, as `a.log().lerp(b.log(), 0.5).exp()`. */
export function middleLevels(a: Float32Array, b: Float32Array): Float32Array {
  const table = compute((torch) => {
    const [from, to] = [torch.op("log", torch.own(Tensor.from(a))), torch.op("log", torch.own(Tensor.from(b)))];
    // LibTorch's lerp with a weight of 0.5 counts from the end.
    return torch.op("exp", torch.sub(to, torch.mul(torch.sub(to, from), 0.5)));
  });
  try {
    return Float32Array.from(table.dataSync() as Float32Array);
  } finally {
    table.dispose();
  }
}

/** Each level but the first one twice, as diffusers lays them out. */
export function twice(levels: Float32Array): Float32Array {
  const [first = NaN, ...others] = levels;
  return Float32Array.of(first, ...others.flatMap((level) => [level, level]), others.at(-1) ?? NaN);
}

/** Put the timestep of the middle of each step before the timestep of the next step. */
export function interleave(timesteps: readonly number[], middles: readonly number[]): number[] {
  return timesteps.flatMap((timestep, i) => (i === 0 ? [timestep] : [middles[i - 1] ?? NaN, timestep]));
}
