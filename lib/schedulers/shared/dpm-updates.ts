import type { Tensor } from "../../torch/tensor.js";
import type { Arithmetic } from "./arithmetic.js";

/** What an exponential integrator follows: the clean sample (`++`) or the noise, along the ODE or the SDE. */
export type DPMAlgorithm = "dpmsolver++" | "sde-dpmsolver++" | "dpmsolver" | "sde-dpmsolver";

/** How an update of order 2 takes the second term. */
export type DPMSolverType = "midpoint" | "heun";

/** A noise level as the papers have it: alpha_t, sigma_t and lambda_t = log(alpha_t / sigma_t); float32 without dimensions. */
export interface DPMLevel {
  readonly alpha: Tensor;
  readonly sigma: Tensor;
  readonly lambda: Tensor;
}

/** Split a noise level of x_0 + sigma * noise into the scales of a sample of variance 1. */
export function levelOf(torch: Arithmetic, value: number): DPMLevel {
  const level = torch.scalar(value);
  const alpha = torch.op("reciprocal", torch.pow(torch.add(torch.pow(level, 2), 1), 0.5));
  const sigma = torch.mul(level, alpha);
  return { alpha, sigma, lambda: torch.sub(torch.op("log", alpha), torch.op("log", sigma)) };
}

/** The operands of an update. */
export interface DPMUpdate {
  readonly algorithm: DPMAlgorithm;
  readonly solverType: DPMSolverType;
  /** The level that the update goes to, then the level of each model, the newest first. */
  readonly levels: readonly [DPMLevel, DPMLevel, ...DPMLevel[]];
  /** The clean samples or the noises of the last steps, the newest first: as many as the update's order, from 1 to 3. */
  readonly models: readonly [Tensor, ...Tensor[]];
  /** x_t in float32. */
  readonly sample: Tensor;
  /** Standard normal, for the algorithms along the SDE. */
  readonly noise: Tensor | undefined;
}

/**
 * Go one step by a multistep update. Over a step h in lambda the model is a polynomial through its last values, and the exponential
 * before it is integrated exactly: x = decay * sample + the sum of a weight times each divided difference (+ spread * noise).
 * @see https://arxiv.org/abs/2206.00927 for the noise, https://arxiv.org/abs/2211.01095 for the clean sample and the SDE
 */
export function dpmUpdate(torch: Arithmetic, update: DPMUpdate): Tensor {
  const { levels, models } = update;
  const h = torch.sub(levels[0].lambda, levels[1].lambda);
  return integrateModel(torch, update, h, differences(torch, levels, models, h));
}

/**
 * Go from where a singlestep block began, the level of the oldest model, by a polynomial through the models of the block.
 * @param update `sample`: x where the block began
 * @see https://arxiv.org/abs/2206.00927 algorithms 1 and 2, https://arxiv.org/abs/2211.01095 algorithm 1
 */
export function singlestepUpdate(torch: Arithmetic, update: DPMUpdate): Tensor {
  const [to, ...inner] = update.levels;
  const from = inner.at(-1) ?? to;
  const h = torch.sub(to.lambda, from.lambda);
  return integrateModel(torch, { ...update, levels: [to, from] }, h, blockDifferences(torch, update, inner, h));
}

function integrateModel(torch: Arithmetic, update: DPMUpdate, h: Tensor, terms: readonly Tensor[]): Tensor {
  const { sample, noise } = update;
  const weights = weightsOf(torch, update, h);
  let next = torch.mul(weights.decay, sample);
  for (const [i, difference] of terms.entries()) {
    const [sign, weight] = weights.terms[i] ?? ["+", h];
    const term = torch.mul(weight, difference);
    next = sign === "+" ? torch.add(next, term) : torch.sub(next, term);
  }
  return noise ? torch.add(next, torch.mul(weights.spread(), noise)) : next;
}

/** The divided differences from where a block began: D0, D1 and D2; without D2 by the midpoint form. */
function blockDifferences(
  torch: Arithmetic,
  { models: [m0, m1, m2], solverType }: DPMUpdate,
  [s0, s1, s2]: readonly DPMLevel[],
  h: Tensor,
): Tensor[] {
  if (!m1 || !s0 || !s1) return [m0];
  const begin = m2 && s2 ? { model: m2, level: s2 } : { model: m1, level: s1 };
  const r0 = torch.div(torch.sub(s0.lambda, begin.level.lambda), h);
  const newest = torch.mul(torch.op("reciprocal", r0), torch.sub(m0, begin.model));
  if (!m2 || solverType === "midpoint") return [begin.model, newest];
  const r1 = torch.div(torch.sub(s1.lambda, begin.level.lambda), h);
  const older = torch.mul(torch.op("reciprocal", r1), torch.sub(m1, m2));
  const span = torch.sub(r0, r1);
  const d1 = torch.div(torch.sub(torch.mul(r0, older), torch.mul(r1, newest)), span);
  return [m2, d1, torch.div(torch.mul(torch.sub(newest, older), 2), span)];
}

/** D0, D1 and D2 of the papers, as many as there are models. */
function differences(
  torch: Arithmetic,
  levels: DPMUpdate["levels"],
  [m0, m1, m2]: readonly Tensor[],
  h: Tensor,
): Tensor[] {
  if (!m0) return [];
  const [, s0, s1, s2] = levels;
  if (!m1 || !s1) return [m0];
  const r0 = torch.div(torch.sub(s0.lambda, s1.lambda), h);
  const newer = torch.mul(torch.op("reciprocal", r0), torch.sub(m0, m1));
  if (!m2 || !s2) return [m0, newer];
  const r1 = torch.div(torch.sub(s1.lambda, s2.lambda), h);
  const older = torch.mul(torch.op("reciprocal", r1), torch.sub(m1, m2));
  const span = torch.add(r0, r1);
  const change = torch.sub(newer, older);
  const d1 = torch.add(newer, torch.mul(torch.div(r0, span), change));
  return [m0, d1, torch.mul(torch.op("reciprocal", span), change)];
}

/** The factors of {@link dpmUpdate}. */
interface Weights {
  readonly decay: Tensor;
  readonly terms: readonly (readonly ["+" | "-", Tensor])[];
  /** Of the noise. */
  readonly spread: () => Tensor;
}

function weightsOf(torch: Arithmetic, update: DPMUpdate, h: Tensor): Weights {
  switch (update.algorithm) {
    case "dpmsolver++":
      return cleanWeights(torch, update, h);
    case "sde-dpmsolver++":
      return cleanSdeWeights(torch, update, h);
    case "dpmsolver":
    case "sde-dpmsolver":
      return noiseWeights(torch, update, h);
  }
}

function cleanWeights(torch: Arithmetic, { levels: [t, s], models, solverType }: DPMUpdate, h: Tensor): Weights {
  const fall = torch.sub(torch.op("exp", torch.op("neg", h)), 1);
  const first = torch.mul(t.alpha, fall);
  const mean = (): Tensor => torch.mul(t.alpha, torch.add(torch.div(fall, h), 1));
  const curve = (): Tensor => torch.mul(t.alpha, torch.sub(torch.div(torch.add(fall, h), torch.pow(h, 2)), 0.5));
  return {
    decay: torch.div(t.sigma, s.sigma),
    terms: [
      ["-", first],
      models.length === 2 && solverType === "midpoint" ? ["-", torch.mul(first, 0.5)] : ["+", mean()],
      ["-", curve()],
    ],
    spread: () => h,
  };
}

function cleanSdeWeights(torch: Arithmetic, { levels: [t, s], models, solverType }: DPMUpdate, h: Tensor): Weights {
  const fall = torch.op("exp", torch.mul(h, -2));
  const rest = torch.rsub(fall, 1);
  const first = torch.mul(t.alpha, rest);
  const mean = (): Tensor => torch.mul(t.alpha, torch.add(torch.div(rest, torch.mul(h, -2)), 1));
  const curve = (): Tensor => {
    const twice = torch.mul(h, 2);
    return torch.mul(t.alpha, torch.sub(torch.div(torch.sub(rest, twice), torch.pow(twice, 2)), 0.5));
  };
  return {
    decay: torch.mul(torch.div(t.sigma, s.sigma), torch.op("exp", torch.op("neg", h))),
    terms: [
      ["+", first],
      models.length === 2 && solverType === "midpoint" ? ["+", torch.mul(first, 0.5)] : ["+", mean()],
      ["+", curve()],
    ],
    spread: () => torch.mul(t.sigma, torch.op("sqrt", rest)),
  };
}

/** The SDE has twice the drift of the ODE; its own update of order 3 does not exist. */
function noiseWeights(torch: Arithmetic, update: DPMUpdate, h: Tensor): Weights {
  const { levels, models, solverType, algorithm } = update;
  const [t, s] = levels;
  const growth = torch.sub(torch.op("exp", h), 1);
  const first = torch.mul(t.sigma, growth);
  const isSde = algorithm === "sde-dpmsolver";
  const drift = (weight: Tensor): Tensor => (isSde ? torch.mul(weight, 2) : weight);
  const half = (): Tensor => (isSde ? first : torch.mul(first, 0.5));
  const mean = (): Tensor => drift(torch.mul(t.sigma, torch.sub(torch.div(growth, h), 1)));
  const curve = (): Tensor => torch.mul(t.sigma, torch.sub(torch.div(torch.sub(growth, h), torch.pow(h, 2)), 0.5));
  return {
    decay: torch.div(t.alpha, s.alpha),
    terms: [
      ["-", drift(first)],
      ["-", models.length === 2 && solverType === "midpoint" ? half() : mean()],
      ["-", curve()],
    ],
    spread: () => torch.mul(t.sigma, torch.op("sqrt", torch.sub(torch.op("exp", torch.mul(h, 2)), 1))),
  };
}
