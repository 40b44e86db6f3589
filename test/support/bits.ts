import type { Tensor } from "../../lib/torch/tensor.js";

/** A tensor's form and values, for comparisons that count every bit. */
export async function bits(tensor: Tensor): Promise<{ form: string; values: number[] }> {
  return {
    form: `${tensor.dtype} [${tensor.shape.join(", ")}] ${tensor.device}`,
    values: Array.from(await tensor.data(), Number),
  };
}
