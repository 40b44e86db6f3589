import { LatentDiffusionError } from "../../errors.js";
import type { Tensor } from "../../torch/tensor.js";
import { checkInteger, checkNumber, checkOptions } from "../../validate.js";
import type { DenoisingNetwork } from "./components.js";

/** How a run reuses deep features of the UNet (DeepCache). Fewer whole evaluations are faster and change the picture. */
export interface CacheOptions {
  /** Of so many evaluations one is whole, and the others reuse its deep features; 1: all are whole, the default picture bit for bit. */
  interval: number;
  /** Where the features are kept: 0, the default, computes least; `unet.cacheBranches - 1` most. */
  branch?: number;
  /** Instead of equal intervals: the evaluation, from 0, around which whole ones are closest together. */
  center?: number;
  /** With `center`: how strongly they gather there, at least 1 (equal intervals); default 1.4. */
  power?: number;
}

/** What a run's cache does. */
export interface CachePlan {
  readonly branch: number;
  /** The evaluations that compute the whole network, by index. */
  readonly whole: ReadonlySet<number>;
}

/**
 * Check a run's `cache` option.
 * @param evaluations of the network in the run
 * @returns undefined where every evaluation is whole
 * @throws InvalidArgumentError; LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` for a network that cannot keep features
 */
export function planCache(
  option: CacheOptions | undefined,
  unet: DenoisingNetwork,
  evaluations: number,
): CachePlan | undefined {
  if (option === undefined) return undefined;
  const given = checkOptions(option, ["interval", "branch", "center", "power"], "cache");
  const interval = checkInteger(given.interval, "cache.interval", 1);
  const branches = unet.cacheBranches ?? 0;
  if (branches === 0) throw cannotCache(unet);
  const branch = checkInteger(given.branch ?? 0, "cache.branch", 0, branches - 1);
  const center =
    given.center === undefined ? undefined : checkInteger(given.center, "cache.center", 0, evaluations - 1);
  const power = checkNumber(given.power ?? 1.4, "cache.power", 1, 10);
  if (interval === 1) return undefined;
  const whole =
    center === undefined ? uniform(evaluations, interval) : gathered(evaluations, { interval, center, power });
  return { branch, whole: new Set(whole) };
}

function uniform(evaluations: number, interval: number): number[] {
  return Array.from({ length: Math.ceil(evaluations / interval) }, (_, i) => i * interval);
}

/**
 * The non-uniform steps of DeepCache: equal distances on a line whose power, with its sign, is taken around the center.
 * @see https://arxiv.org/abs/2312.00858, section 3.3, "Non-uniform 1:N inference"
 */
function gathered(
  evaluations: number,
  { interval, center, power }: { interval: number; center: number; power: number },
): number[] {
  const count = Math.ceil(evaluations / interval);
  const first = -(center ** (1 / power));
  const last = (evaluations - center) ** (1 / power);
  return Array.from({ length: count }, (_, i) => {
    const at = first + ((last - first) * i) / count;
    const index = Math.floor(Math.sign(at) * Math.abs(at) ** power + center + 1e-9);
    return i === 0 ? 0 : Math.min(Math.max(index, 0), evaluations - 1);
  });
}

function cannotCache(unet: DenoisingNetwork): LatentDiffusionError {
  return new LatentDiffusionError(
    "ERR_CONFIG_UNSUPPORTED",
    unet.cacheBranches === undefined
      ? `The unet cannot keep deep features (cache): it is ${unet.className ?? "a TorchScript module that was exported elsewhere"}`
      : "The unet cannot keep deep features (cache): it has Skip or K blocks, or residuals that no up block takes",
  );
}

/** The deep features of one run. */
export class FeatureCache {
  readonly #plan: CachePlan;
  #features: Tensor | undefined;

  constructor(plan: CachePlan) {
    this.#plan = plan;
  }

  /**
   * Evaluate the network, whole or around the features that are kept.
   * @param index of the evaluation in the run
   * @returns the model's output, the caller's to free
   */
  async evaluate(
    unet: DenoisingNetwork,
    input: Tensor,
    { index, timestep, signal }: { index: number; timestep: number; signal: AbortSignal | undefined },
  ): Promise<Tensor> {
    if (!unet.forwardCached) throw cannotCache(unet);
    const { branch, whole } = this.#plan;
    const kept = this.#features;
    // A network that was moved in between needs features of its new place.
    const fits = kept !== undefined && kept.device === unet.device && kept.dtype === unet.dtype;
    const given = fits && !whole.has(index) ? kept : undefined;
    const { sample, features } = await unet.forwardCached(input, timestep, { branch, features: given, signal });
    if (features !== kept) {
      kept?.dispose();
      this.#features = features;
    }
    return sample;
  }

  dispose(): void {
    this.#features?.dispose();
    this.#features = undefined;
  }
}
