import type { Tensor } from "../../torch/tensor.js";
import type { Arithmetic } from "./arithmetic.js";
import type { DPMLevel } from "./dpm-updates.js";

/** The function B(h) that the update of a whole step is scaled by: h, or e^h - 1. */
export type UniPCSolverType = "bh1" | "bh2";

/** One update's operands. */
export interface UniPCUpdate {
  /** Whether the models are clean samples, not noise. */
  readonly followsClean: boolean;
  readonly solverType: UniPCSolverType;
  /** The level that the update goes to, then the level of each model, the newest first. */
  readonly levels: readonly DPMLevel[];
  /** The newest first. */
  readonly models: readonly Tensor[];
  readonly sample: Tensor;
  /** The model where the update goes to, which the corrector knows. */
  readonly reached?: Tensor;
}

/** What predictor and corrector are solved from, in float32. */
interface Weights {
  /** phi_1(h), that is e^h - 1, of the signed step. */
  readonly first: Tensor;
  /** B(h). */
  readonly bh: Tensor;
  /** Powers of the ratios r_m, `[order, order]`. */
  readonly matrix: Tensor;
  /** phi_(n+1)(h) n! / B(h), `[order]`. */
  readonly target: Tensor;
}

/** Formulas (3) and (5) for the noise, (8) and (9) for the clean sample: the predictor, or the corrector where the model is known. */
export function unipcUpdate(torch: Arithmetic, update: UniPCUpdate): Tensor {
  const { followsClean, levels, models, sample, reached } = update;
  const [to, from] = levels as [DPMLevel, DPMLevel];
  const [newest] = models as [Tensor];
  const h = torch.sub(to.lambda, from.lambda);
  const older = models.slice(1).map((value, i) => ({ value, level: levels[i + 2] ?? from }));
  const ratios = older.map(({ level }) => torch.div(torch.sub(level.lambda, from.lambda), h));
  const differences = older.map(({ value }, i) => torch.div(torch.sub(value, newest), ratios[i] ?? h));
  const weights = weightsOf(torch, update, h, ratios);

  // 1. The update of order 1
  const [goal, decay] = followsClean
    ? [to.alpha, torch.div(to.sigma, from.sigma)]
    : [to.sigma, torch.div(to.alpha, from.alpha)];
  const linear = torch.sub(torch.mul(decay, sample), torch.mul(torch.mul(goal, weights.first), newest));

  // 2. The differences, by the solution a_p of R_p(h) a_p = phi_p(h) / B(h)
  const residual = reached
    ? correction(torch, weights, differences, torch.sub(reached, newest))
    : prediction(torch, weights, differences);
  if (!residual) return torch.op("to.dtype", linear, sample.dtype);
  const next = torch.sub(linear, torch.mul(torch.mul(goal, weights.bh), residual));
  return torch.op("to.dtype", next, sample.dtype);
}

/** R_p(h) and phi_p(h) / B(h) of the ratios, and 1 for the step itself. */
function weightsOf(
  torch: Arithmetic,
  { followsClean, solverType }: UniPCUpdate,
  h: Tensor,
  ratios: readonly Tensor[],
): Weights {
  const signed = followsClean ? torch.op("neg", h) : h;
  const all = torch.op("stack", [...ratios, torch.scalar(1)]);
  const first = torch.op("expm1", signed);
  const bh = solverType === "bh1" ? signed : first;
  const rows: Tensor[] = [];
  const targets: Tensor[] = [];
  let phi = torch.sub(torch.div(first, signed), 1);
  let factorial = 1;
  for (let i = 1; i <= ratios.length + 1; i++) {
    rows.push(torch.pow(all, i - 1));
    targets.push(torch.div(torch.mul(phi, factorial), bh));
    factorial *= i + 1;
    phi = torch.sub(torch.div(phi, signed), 1 / factorial);
  }
  return { first, bh, matrix: torch.op("stack", rows), target: torch.op("stack", targets) };
}

/** The predictor's residual: it does not know the model at the end of the step. Its only coefficient of order 2 is 1/2 to the second order. */
function prediction(
  torch: Arithmetic,
  { matrix, target }: Weights,
  differences: readonly Tensor[],
): Tensor | undefined {
  const count = differences.length;
  const [difference] = differences;
  if (!difference) return undefined;
  if (count === 1) return torch.mul(difference, 0.5);
  const rows = torch.op("slice.Tensor", torch.op("slice.Tensor", matrix, 0, 0, count), 1, 0, count);
  const solution = torch.op("linalg_solve", rows, torch.op("slice.Tensor", target, 0, 0, count));
  return combine(torch, torch.op("to.dtype", solution, difference.dtype), differences);
}

/** The corrector's residual. @param reached what the model changed by over the step */
function correction(
  torch: Arithmetic,
  { matrix, target }: Weights,
  differences: readonly Tensor[],
  reached: Tensor,
): Tensor {
  const count = differences.length;
  // Python adds the number 0 where there are no differences, which makes 0 of -0.
  if (count === 0) return torch.add(torch.mul(reached, 0.5), 0);
  const solution = torch.op("to.dtype", torch.op("linalg_solve", matrix, target), reached.dtype);
  const before = combine(torch, torch.op("slice.Tensor", solution, 0, 0, count), differences);
  return torch.add(before, torch.mul(torch.op("select.int", solution, 0, count), reached));
}

/** The sum of tensors by weights, as einsum does it: a batched matrix product. @param weights `[n]` */
function combine(torch: Arithmetic, weights: Tensor, tensors: readonly Tensor[]): Tensor {
  const [tensor] = tensors as [Tensor];
  const count = tensors.length;
  if (count === 1) return torch.mul(torch.op("select.int", weights, 0, 0), tensor);
  const all = torch.op("reshape", torch.op("stack", tensors), [1, count, tensor.numel]);
  return torch.op("reshape", torch.op("bmm", torch.op("reshape", weights, [1, 1, count]), all), tensor.shape);
}
