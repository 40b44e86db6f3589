import type { Operators } from "../../torch/operators.js";
import { op, Tensor } from "../../torch/tensor.js";

/** The second operand of arithmetic: a number is a Python number. */
export type Operand = Tensor | number;

/**
 * Tensor arithmetic, each method one operator of LibTorch, so that a formula rounds exactly as the same formula in PyTorch. A
 * number is a Python number there: it never widens a tensor's dtype.
 *
 * What is made is freed by {@link Arithmetic.release}, but for what is to be kept: a run's loop would otherwise leave
 * tensors to the garbage collector by the dozen.
 */
export class Arithmetic {
  readonly #made: Tensor[] = [];

  /** Hold a tensor that was made elsewhere, to be freed with the rest. */
  own(tensor: Tensor): Tensor {
    this.#made.push(tensor);
    return tensor;
  }

  /** A float32 tensor without dimensions: next to a tensor that has some, it takes that one's dtype. */
  scalar(value: number): Tensor {
    return this.own(Tensor.from(Float32Array.of(value), []));
  }

  add(a: Tensor, b: Operand): Tensor {
    return typeof b === "number" ? this.op("add.Scalar", a, b) : this.op("add.Tensor", a, b);
  }

  sub(a: Tensor, b: Operand): Tensor {
    return typeof b === "number" ? this.op("sub.Scalar", a, b) : this.op("sub.Tensor", a, b);
  }

  /** `from - a`. */
  rsub(a: Tensor, from: number): Tensor {
    return this.op("rsub.Scalar", a, from);
  }

  mul(a: Tensor, b: Operand): Tensor {
    return typeof b === "number" ? this.op("mul.Scalar", a, b) : this.op("mul.Tensor", a, b);
  }

  div(a: Tensor, b: Operand): Tensor {
    return typeof b === "number" ? this.op("div.Scalar", a, b) : this.op("div.Tensor", a, b);
  }

  pow(base: Tensor, exponent: number): Tensor {
    return this.op("pow.Tensor_Scalar", base, exponent);
  }

  /** Any operator of the list. */
  op<Name extends keyof Operators>(name: Name, ...operands: Parameters<Operators[Name]>): Tensor {
    return this.own(op(name, ...operands));
  }

  /** Free all that was made, but for `kept`. */
  release(...kept: readonly Tensor[]): void {
    for (const tensor of this.#made) if (!kept.includes(tensor)) tensor.dispose();
    this.#made.length = 0;
  }
}

/** Compute one tensor or several by name, and free what they were made of. */
export function compute<Result extends Tensor | Readonly<Record<string, Tensor>>>(
  body: (torch: Arithmetic) => Result,
): Result {
  const torch = new Arithmetic();
  try {
    const result = body(torch);
    torch.release(...(result instanceof Tensor ? [result] : Object.values(result)));
    return result;
  } finally {
    // Nothing is left to free here unless the body threw.
    torch.release();
  }
}
