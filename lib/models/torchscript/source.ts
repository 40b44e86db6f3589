import { LatentDiffusionError } from "../../errors.js";
import type { ModuleSpec } from "../../native/contract.js";

/** `c10::ScalarType::Float`: the TorchScript compiler without Python does not know `torch.float32` by name. */
export const FLOAT32 = 6;

type Children = readonly (readonly [name: string, spec: ModuleSpec])[];
/** A line of TorchScript, or several, or nothing where a condition leaves it out. */
type Lines = string | false | null | readonly Lines[];

interface Parts {
  readonly parameters?: readonly (readonly [name: string, shape: readonly number[]])[];
  readonly children?: readonly (readonly [name: string, spec: ModuleSpec] | false | null)[];
  readonly methods?: readonly Lines[];
}

/** Put one class of a network together; conditions may leave children and lines out. */
export function moduleSpec(name: string, { parameters = [], children = [], methods = [] }: Parts): ModuleSpec {
  return {
    name,
    parameters,
    children: children.filter((child) => child !== false && child !== null),
    source: flatten(methods).join("\n"),
  };
}

/** A list of modules under their numbers, reached as `getattr(self.<list>, "0")`. */
export function moduleList(modules: readonly ModuleSpec[]): ModuleSpec {
  return moduleSpec("ModuleList", { children: numbered(modules) });
}

function numbered(modules: readonly ModuleSpec[]): Children {
  return modules.map((module, i) => [String(i), module] as const);
}

/** One method: its signature without `def` and the colon, its lines with indentation of their own only. */
export function method(signature: string, ...lines: readonly Lines[]): readonly string[] {
  return [`def ${signature}:`, ...flatten(lines).map((line) => `    ${line}`)];
}

function flatten(lines: readonly Lines[]): string[] {
  return lines.flatMap((line) => (typeof line === "string" ? [line] : line ? flatten(line) : []));
}

/** One module of a list. */
export function item(list: string, index: number): string {
  return `getattr(${list}, "${int(index)}")`;
}

/** A call of one module of a list. */
export function callItem(list: string, index: number, ...args: readonly string[]): string {
  return `${item(list, index)}.forward(${args.join(", ")})`;
}

/** Write a whole number into a source. */
export function int(value: number): string {
  if (!Number.isSafeInteger(value)) throw notANumber(value);
  return String(value);
}

/** Write a finite number into a source, with a point or an exponent, so that it is read as a float. */
export function float(value: number): string {
  if (!Number.isFinite(value)) throw notANumber(value);
  const text = String(value);
  return /[.e]/.test(text) ? text : `${text}.0`;
}

/** The last guard before a source: configs are checked long before. */
function notANumber(value: unknown): LatentDiffusionError {
  return new LatentDiffusionError(
    "ERR_INTERNAL",
    `Expected a number for a TorchScript source but received ${typeof value}`,
  );
}

/** A division that is left out where it changes nothing: x / 1 is x, bit for bit. */
export function dividedBy(expression: string, factor: number): string {
  return factor === 1 ? expression : `(${expression}) / ${float(factor)}`;
}

/** The activations of configs, by `act_fn` in lower case. @see diffusers.models.activations.ACT2CLS */
const ACTIVATIONS = {
  swish: "torch.silu",
  silu: "torch.silu",
  mish: "torch.mish",
  gelu: "torch.gelu",
  relu: "torch.relu",
} as const;
export type Activation = keyof typeof ACTIVATIONS;
export const ACTIVATION_NAMES = Object.keys(ACTIVATIONS) as readonly Activation[];

/** An activation applied to an expression. */
export function activate(activation: Activation, expression: string): string {
  return `${ACTIVATIONS[activation]}(${expression})`;
}
