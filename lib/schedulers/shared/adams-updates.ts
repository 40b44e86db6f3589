import type { Tensor } from "../../torch/tensor.js";
import type { Arithmetic } from "./arithmetic.js";
import type { DPMLevel } from "./dpm-updates.js";

/** The most models that a stochastic Adams update goes through. */
export const MAX_ADAMS_ORDER = 4;

/** One update's operands. */
export interface AdamsUpdate {
  /** Whether the models are clean samples, not noise. */
  readonly followsClean: boolean;
  /** How stochastic the step is: 0 follows the ODE, 1 the SDE. */
  readonly tau: number;
  /** Where the update begins and ends. */
  readonly from: DPMLevel;
  readonly to: DPMLevel;
  /** From 1 to 4, the newest first, with the lambda of each. */
  readonly models: readonly Tensor[];
  readonly lambdas: readonly Tensor[];
  /** What diffusers adds to both coefficients of order 2. */
  readonly amendment: ((torch: Arithmetic, update: AdamsUpdate, h: Tensor) => Tensor) | undefined;
  readonly sample: Tensor;
  /** Standard normal, of the sample's shape. */
  readonly noise: Tensor;
}

/**
 * Take one stochastic Adams step: the model is the polynomial in lambda through the last ones, and the exponential before it is integrated
 * exactly. The predictor's newest model is the one where the step begins, the corrector's the one where it ends.
 * @see https://arxiv.org/abs/2309.05019 formulas (14) and (17)
 */
export function adamsUpdate(torch: Arithmetic, update: AdamsUpdate): Tensor {
  const { followsClean, tau, from, to, models, sample, noise } = update;
  const h = torch.sub(to.lambda, from.lambda);
  const scale = (1 + tau ** 2) * (followsClean ? 1 : -1);
  const reach = followsClean
    ? torch.mul(torch.mul(to.sigma, scale), torch.op("exp", torch.mul(to.lambda, -(tau ** 2))))
    : torch.mul(to.alpha, scale);

  // 1. The models, each by the integral of its polynomial
  const terms = coefficientsOf(torch, update, h).map((weight, i) =>
    torch.mul(torch.mul(reach, weight), models[i] ?? sample),
  );
  const gradient = terms.reduce((sum, term) => torch.add(sum, term));

  // 2. The fresh noise
  const spread = followsClean
    ? torch.mul(to.sigma, torch.op("sqrt", torch.rsub(torch.op("exp", torch.mul(h, -2 * tau ** 2)), 1)))
    : torch.mul(torch.mul(to.sigma, tau), torch.op("sqrt", torch.sub(torch.op("exp", torch.mul(h, 2)), 1)));

  // 3. What is left of the sample
  const decay = followsClean
    ? torch.mul(torch.op("exp", torch.mul(h, -(tau ** 2))), torch.div(to.sigma, from.sigma))
    : torch.div(to.alpha, from.alpha);
  const next = torch.add(torch.add(torch.mul(decay, sample), gradient), torch.mul(spread, noise));
  return torch.op("to.dtype", next, sample.dtype);
}

/** The weight of each model: the integral over the step of its Lagrange polynomial times the exponential. */
function coefficientsOf(torch: Arithmetic, update: AdamsUpdate, h: Tensor): Tensor[] {
  const { lambdas, amendment } = update;
  const order = lambdas.length;
  const integrals = Array.from({ length: order }, (_, power) => integral(torch, update, power));
  const weights = lambdas.map((own, i) => {
    const polynomial = lagrange(torch, own, [...lambdas.slice(0, i), ...lambdas.slice(i + 1)]);
    // From the highest power down. Python begins with the number 0, which makes 0 of -0.
    return polynomial.reduce<Tensor | undefined>((sum, factor, j) => {
      const term = torch.mul(integrals[order - 1 - j] ?? h, factor);
      return sum ? torch.add(sum, term) : torch.add(term, 0);
    }, undefined);
  }) as Tensor[];
  const [first, second] = weights;
  if (!amendment || !first || !second || order !== 2) return weights;
  const extra = amendment(torch, update, h);
  return [torch.add(first, extra), torch.sub(second, extra)];
}

/** The coefficients, from the highest power down, of the polynomial that is 1 at `own` and 0 at the others. */
function lagrange(torch: Arithmetic, own: Tensor, others: readonly Tensor[]): (Tensor | number)[] {
  const [a, b, c] = others;
  if (!a) return [1];
  const toA = torch.sub(own, a);
  if (!b) return [torch.op("reciprocal", toA), torch.div(torch.op("neg", a), toA)];
  const toB = torch.mul(toA, torch.sub(own, b));
  const sum = torch.sub(torch.op("neg", a), b);
  if (!c) return [torch.op("reciprocal", toB), torch.div(sum, toB), torch.div(torch.mul(a, b), toB)];
  const toC = torch.mul(toB, torch.sub(own, c));
  const pairs = torch.add(torch.add(torch.mul(a, b), torch.mul(a, c)), torch.mul(b, c));
  return [
    torch.op("reciprocal", toC),
    torch.div(torch.sub(sum, c), toC),
    torch.div(pairs, toC),
    torch.div(torch.mul(torch.mul(torch.op("neg", a), b), c), toC),
  ];
}

/** The integral over the step of lambda^power times the exponential. */
function integral(torch: Arithmetic, { followsClean, tau, from, to }: AdamsUpdate, power: number): Tensor {
  if (!followsClean) {
    const growth = torch.op("exp", torch.sub(to.lambda, from.lambda));
    const [start, end] = [from.lambda, to.lambda].map((at) => momentOf(torch, at, power, 1)) as [
      Tensor | 1,
      Tensor | 1,
    ];
    const grown = start === 1 ? growth : torch.mul(start, growth);
    return torch.mul(torch.op("exp", torch.op("neg", to.lambda)), torch.sub(grown, end));
  }
  const scale = 1 + tau ** 2;
  const [last, first] = [torch.mul(to.lambda, scale), torch.mul(from.lambda, scale)];
  const fall = torch.op("exp", torch.op("neg", torch.sub(last, first)));
  const [start, end] = [first, last].map((at) => momentOf(torch, at, power, -1)) as [Tensor | 1, Tensor | 1];
  const rest = start === 1 || end === 1 ? torch.rsub(fall, 1) : torch.sub(end, torch.mul(start, fall));
  return torch.div(torch.mul(torch.op("exp", last), rest), scale ** (power + 1));
}

/** The polynomial x^n +- n x^(n-1) + n (n-1) x^(n-2) +- ... that integrating x^n times an exponential leaves. */
function momentOf(torch: Arithmetic, x: Tensor, power: number, sign: 1 | -1): Tensor | 1 {
  switch (power) {
    case 0:
      return 1;
    case 1:
      return torch.add(x, sign);
    case 2:
      return torch.add(torch.add(torch.pow(x, 2), torch.mul(x, 2 * sign)), 2);
    default:
      return torch.add(
        torch.add(torch.add(torch.pow(x, 3), torch.mul(torch.pow(x, 2), 3 * sign)), torch.mul(x, 6)),
        6 * sign,
      );
  }
}
