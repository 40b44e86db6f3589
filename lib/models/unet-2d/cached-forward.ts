import { int, item, method } from "../torchscript/source.js";
import { type DownBlockOptions, downResiduals, isPlainDown, plainDownLayer, range } from "./down-blocks.js";
import { type Features, residualName, type Trace } from "./trace.js";
import { isPlainUp, plainUpLayer } from "./up-blocks.js";

/** What enters an up layer, and which residual that layer takes: where deep features may be kept. */
export interface CacheBranch {
  /** How often the picture was halved there. */
  readonly level: number;
  readonly channels: number;
}

/** One layer of the up path, with the number of the residual that it concatenates. */
interface UpLayer extends CacheBranch {
  readonly residual: Features;
  readonly number: number;
  readonly lines: readonly string[];
}

/**
 * Find the places where deep features may be kept. Branch 0 is before the last up layer, which takes the residual of `conv_in`;
 * branch b before the layer that takes residual b.
 * @returns one entry per branch; none for blocks other than the plain ones
 * @see https://arxiv.org/abs/2312.00858, figure 3: the skip branches
 */
export function cacheBranches(downs: readonly DownBlockOptions[], trace: Trace): CacheBranch[] {
  return upLayers(downs, trace)
    .map(({ level, channels }) => ({ level, channels }))
    .reverse();
}

function upLayers(downs: readonly DownBlockOptions[], { ups }: Trace): UpLayer[] {
  const plain = downs.every(({ type }) => isPlainDown(type)) && ups.every(({ options }) => isPlainUp(options.type));
  const count = 1 + downs.reduce((sum, options) => sum + downResiduals(options), 0);
  const taken = ups.reduce((sum, { residuals }) => sum + residuals.length, 0);
  // Every residual is used once, last first: so the number of a residual says where the up path takes it.
  if (!plain || taken !== count) return [];
  let number = count;
  return ups.flatMap(({ options, residuals }, block) =>
    residuals.map((residual, i): UpLayer => {
      number--;
      return {
        residual,
        number,
        level: residual.level,
        channels: i === 0 ? options.previousChannels : options.outChannels,
        lines: plainUpLayer(options, i, {
          block: item("self.up_blocks", block),
          residual: residual.name,
          temb: "emb",
        }),
      };
    }),
  );
}

/**
 * Write a second forward that keeps deep features, or computes only what lies around them (DeepCache). One method serves all branches, so that
 * its weights are those of `forward`. `whole`: computes everything, and returns what enters branch `branch` beside the sample. Otherwise `features`
 * takes that place, and the layers between are left out.
 * @returns nothing where features cannot be kept
 * @param lines the lines of `forward` before the down blocks and after the up blocks; `labels`: a further argument
 * @see Ma et al., "DeepCache: Accelerating Diffusion Models for Free", 2023, equations 6 and 7
 */
export function cachedForward(
  downs: readonly DownBlockOptions[],
  trace: Trace,
  { labels, before, middle, after }: CachedForwardParts,
): readonly string[] {
  const layers = upLayers(downs, trace);
  if (layers.length === 0) return [];
  let number = 0;
  // Layers are computed in the else branch: what estimates sizes takes the last branch for the usual one (spatial_sizes.cc).
  return method(
    `forward_cached(self, sample: Tensor, timestep: Tensor${labels}, features: Tensor, branch: int, whole: bool) -> Tuple[Tensor, Tensor]`,
    before,
    downs.flatMap((options, block) =>
      range(downResiduals(options)).map((i) => {
        number++;
        const name = residualName(block, i);
        return [
          `${name} = d`,
          ...unlessCached(`branch < ${int(number)}`, [
            ...plainDownLayer(options, i, { block: item("self.down_blocks", block), temb: "emb" }),
            `${name} = x`,
          ]),
        ];
      }),
    ),
    middle !== null && unlessCached(null, [middle]),
    "kept = features",
    layers.map((layer) =>
      unlessCached(`branch < ${int(layer.number)}`, [
        `if branch == ${int(layer.number)}:`,
        "    if whole:",
        "        kept = x",
        "    else:",
        "        x = features",
        ...layer.lines,
      ]),
    ),
    after,
    "return x, kept",
  );
}

/** What {@link cachedForward} has in common with `forward`. */
export interface CachedForwardParts {
  readonly labels: string;
  readonly before: Lines;
  readonly middle: string | null;
  readonly after: Lines;
}

type Lines = readonly (string | false | readonly string[])[];

/** Leave lines out where features are given and `condition` holds. */
function unlessCached(condition: string | null, lines: readonly string[]): string[] {
  return [
    `if not whole${condition === null ? "" : ` and ${condition}`}:`,
    "    pass",
    "else:",
    ...lines.map((line) => `    ${line}`),
  ];
}
