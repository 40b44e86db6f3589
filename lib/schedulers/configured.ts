// A scheduler and its config file: what diffusers' ConfigMixin is to its schedulers.
import { join } from "node:path";
import { CheckedConfig, completeForeign, completeGiven, type Config, type ConfigClass } from "../config/config.js";
import { type JsonObject, readConfig, writeConfig } from "../config/config-file.js";
import { checkSubfolder, locateCheckpoint } from "../checkpoint/locate.js";
import { HUB_OPTIONS, type HubOptions, splitHubOptions } from "../hub/options.js";
import { checkOptions, checkPath } from "../validate.js";

/** What a scheduler's constructor takes: keys of its config, or a config that `fromConfig` has checked. */
export type GivenConfig<Keys extends object> = Partial<Keys> | CheckedConfig<Keys>;

/** A scheduler's class, as the static methods of {@link ConfiguredScheduler} see it. */
export interface SchedulerClass<Keys extends object, Instance> {
  new (config: CheckedConfig<Keys>): Instance;
  readonly kind: ConfigClass<Keys>;
  readonly compatibles: readonly string[];
}

/** The file of a scheduler's folder. */
export const SCHEDULER_FILE = "scheduler_config.json";

/** The schedulers whose files any of them may take over, as diffusers' `KarrasDiffusionSchedulers`. */
export const COMPATIBLE_CLASSES: readonly string[] = [
  "DDIMScheduler",
  "DDPMScheduler",
  "DEISMultistepScheduler",
  "DPMSolverMultistepScheduler",
  "DPMSolverSDEScheduler",
  "DPMSolverSinglestepScheduler",
  "EDMEulerScheduler",
  "EulerAncestralDiscreteScheduler",
  "EulerDiscreteScheduler",
  "HeunDiscreteScheduler",
  "KDPM2AncestralDiscreteScheduler",
  "KDPM2DiscreteScheduler",
  "LMSDiscreteScheduler",
  "PNDMScheduler",
  "UniPCMultistepScheduler",
];

/**
 * A scheduler's config: checking it, loading it, saving it.
 * @see diffusers.ConfigMixin
 */
export abstract class ConfiguredScheduler<Keys extends object> {
  /** The classes whose configs this one takes over, sorted. @see diffusers.SchedulerMixin.compatibles */
  static readonly compatibles: readonly string[] = COMPATIBLE_CLASSES;

  readonly className: string;
  /** Every key of the class, with diffusers' spelling and defaults, and what else a file held; frozen. */
  readonly config: Config<Keys>;
  readonly #kind: ConfigClass<Keys>;

  protected constructor(kind: ConfigClass<Keys>, config: GivenConfig<Keys>) {
    this.#kind = kind;
    this.className = kind.className;
    this.config = completeGiven(kind, config);
  }

  /**
   * Make a scheduler of what a file or another scheduler's `config` holds; keys of other classes are kept and saved again, and keys that
   * the other scheduler had never set get this class's defaults.
   * @param overrides values to take instead
   * @throws LatentDiffusionError `ERR_CONFIG_UNSUPPORTED` naming key and value; InvalidArgumentError for an unknown key of `overrides`
   * @see diffusers.ConfigMixin.from_config
   * @example
   * pipe.scheduler = DDIMScheduler.fromConfig(pipe.scheduler.config, { timestep_spacing: "trailing" });
   */
  static fromConfig<K extends object, Instance>(
    this: SchedulerClass<K, Instance>,
    config: JsonObject,
    overrides?: Partial<K>,
  ): Instance {
    return new this(new CheckedConfig(completeForeign(this.kind, config, overrides)));
  }

  /**
   * Read `scheduler_config.json` of a folder, or of a repository on the hub; another compatible class's file is taken too.
   * @param source a folder, a `file:` URL, or a repository's id, `"owner/name"`
   * @param options `subfolder`: where in it, `"scheduler"` in a pipeline's; those of the hub
   * @throws LatentDiffusionError `ERR_CHECKPOINT_NOT_FOUND`, `ERR_CHECKPOINT_INVALID`, `ERR_CONFIG_UNSUPPORTED`; `ERR_HUB_...`
   */
  static async fromPretrained<K extends object, Instance>(
    this: SchedulerClass<K, Instance>,
    source: string | URL,
    options?: { subfolder?: string } & HubOptions,
  ): Promise<Instance> {
    const { className } = this.kind;
    const known = ["subfolder", ...HUB_OPTIONS];
    const [hub, { subfolder }] = splitHubOptions(checkOptions(options, known, `${className}.fromPretrained`));
    const inside = checkSubfolder(subfolder);
    const wanted = inside === "" ? SCHEDULER_FILE : `${inside}/${SCHEDULER_FILE}`;
    const path = join(await locateCheckpoint(source, hub, () => Promise.resolve([wanted])), inside);
    const names = [...new Set([className, ...this.compatibles, ...COMPATIBLE_CLASSES])];
    const config = await readConfig(path, SCHEDULER_FILE, names);
    return new this(new CheckedConfig(completeForeign(this.kind, config)));
  }

  /** Write `scheduler_config.json` into a folder, which is made. @throws LatentDiffusionError `ERR_IO` */
  async savePretrained(folder: string): Promise<void> {
    await writeConfig(checkPath(folder, "folder"), SCHEDULER_FILE, this.#kind, this.config);
  }
}
