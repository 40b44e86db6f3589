import { LatentDiffusionError } from "../errors.js";
import { inSteps } from "../files/json.js";
import { type PickleMeaning, readPickle } from "../files/pickle.js";
import { describePickle, PickleGlobal, PickleObject, PickleTensor, type PickleValue } from "../files/pickle-values.js";
import { spanProblem, storageBytes, torchMeaning } from "../files/torch-pickle.js";
import { quote } from "../validate.js";
import { checkNesting } from "./script-code.js";

/** Deeper than any network's modules, and shallow enough for what recurses into them. */
const MAX_DEPTH = 300;
/** Values, a shared one counted wherever it is: LibTorch visits some of them each time. */
const MAX_VISITS = 10_000_000;

/** Classes and functions that LibTorch's own reader knows, besides those of tensors and the file's own classes. */
const KNOWN: ReadonlySet<string> = new Set([
  ...["intlist", "tensorlist", "doublelist", "boollist", "tensor_from_id"].map(
    (name) => `torch.jit._pickle.build_${name}`,
  ),
  "torch.jit._pickle.restore_type_tag",
  "torch.device",
  "torch._C._nn.Generator",
  "builtins.complex",
  "__builtin__.complex",
]);

/** Where a storage's record is, and how many bytes it has; undefined if there is none. */
export type StorageSize = (key: string) => number | undefined;

/**
 * Check one pickle of a TorchScript file: it names only what LibTorch's reader builds, its tensors lie within their storages and these within their
 * records, and it nests no deeper than can be followed.
 * @param where what is read, for messages
 * @throws LatentDiffusionError `ERR_CHECKPOINT_INVALID`
 */
export async function checkScriptPickle(bytes: Uint8Array, where: string, sizeOf: StorageSize): Promise<void> {
  const value = await readScriptPickle(bytes, where);
  const fail = (what: string): never => {
    throw new LatentDiffusionError("ERR_CHECKPOINT_INVALID", `${where}: ${what}`);
  };
  const tags = new Set<string>();
  await inSteps(walk(value, fail), (item) => {
    if (item instanceof PickleGlobal) fail(`${describePickle(item)} where a value is expected`);
    if (item instanceof PickleTensor) checkTensor(item, sizeOf, fail);
    if (!(item instanceof PickleObject)) return;
    const { name } = item.type;
    if (!KNOWN.has(name) && !name.startsWith("__torch__."))
      fail(`${describePickle(item)}, which TorchScript does not have`);
    const tag = Array.isArray(item.parts[0]) ? item.parts[0][1] : undefined;
    if (name === "torch.jit._pickle.restore_type_tag" && typeof tag === "string") tags.add(tag);
  });
  for (const tag of tags) {
    const problem = await checkNesting(tag);
    if (problem !== undefined) fail(`the type ${quote(tag)} ${problem.replace("line 1 ", "")}`);
  }
}

/** Read one pickle of a TorchScript file. @throws LatentDiffusionError `ERR_CHECKPOINT_INVALID` */
export async function readScriptPickle(bytes: Uint8Array, where: string): Promise<PickleValue> {
  const known: PickleMeaning = torchMeaning((what, position) => {
    throw new LatentDiffusionError("ERR_CHECKPOINT_INVALID", `${where}: ${what} at byte ${position}`);
  });
  const tensor = known.builders.get("torch._utils._rebuild_tensor_v2");
  const builders = new Map(known.builders);
  if (tensor) builders.set("torch._utils._rebuild_qtensor", tensor);
  const { value, end } = await readPickle(bytes, where, { ...known, builders });
  if (end !== bytes.length)
    throw new LatentDiffusionError("ERR_CHECKPOINT_INVALID", `${where}: ${bytes.length - end} bytes follow its end`);
  return value;
}

function checkTensor(tensor: PickleTensor, sizeOf: StorageSize, fail: (what: string) => never): void {
  const { key, type, total } = tensor.storage;
  const bytes = storageBytes(type);
  if (bytes === undefined) return fail(`a tensor of ${type}, which is unknown`);
  const problem = spanProblem(tensor);
  if (problem !== undefined) return fail(`a tensor's ${problem}`);
  const size = sizeOf(key);
  // What has no elements needs no record.
  if (size === undefined ? total > 0 : size !== total * bytes)
    fail(
      `the storage ${quote(key)} is ${total} elements of ${type}, which take ${total * bytes} bytes, but its record ` +
        (size === undefined ? "is missing" : `has ${size}`),
    );
}

interface Frame {
  readonly value: PickleValue;
  readonly parts: Iterator<PickleValue>;
  /** Values in it, a shared one as often as it is there. */
  visits: number;
}

/** Every value once, without recursion; what contains itself, is too deep or is shared too often is refused. */
function* walk(root: PickleValue, fail: (what: string) => never): Generator<PickleValue> {
  const visits = new Map<PickleValue, number>();
  const open = new Set<PickleValue>();
  const frames: Frame[] = [];
  const enter = (value: PickleValue): void => {
    if (open.has(value)) fail(`${describePickle(value)} that contains itself`);
    open.add(value);
    frames.push({ value, parts: partsOf(value), visits: 1 });
    if (frames.length > MAX_DEPTH) fail(`values nested deeper than ${MAX_DEPTH} levels`);
  };
  const add = (count: number): void => {
    const top = frames.at(-1);
    if (!top) return;
    top.visits += count;
    if (top.visits > MAX_VISITS) fail(`values that are shared more than ${MAX_VISITS} times`);
  };
  yield root;
  enter(root);
  for (let top = frames.at(-1); top; top = frames.at(-1)) {
    const next = top.parts.next();
    const part = next.done === true ? undefined : next.value;
    if (part === undefined) {
      frames.pop();
      open.delete(top.value);
      visits.set(top.value, top.visits);
      add(top.visits);
    } else if (!isContainer(part)) {
      yield part;
      add(1);
    } else if (visits.has(part)) {
      add(visits.get(part) ?? 1);
    } else {
      yield part;
      enter(part);
    }
  }
}

function isContainer(value: PickleValue): boolean {
  return Array.isArray(value) || value instanceof Map || value instanceof PickleObject;
}

function* partsOf(value: PickleValue): Generator<PickleValue> {
  if (Array.isArray(value)) yield* value;
  else if (value instanceof PickleObject) yield* value.parts;
  else if (value instanceof Map)
    for (const [key, item] of value) {
      yield key;
      yield item;
    }
}
