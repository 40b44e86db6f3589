import type { DType } from "../native/contract.js";
import type { PickleBuilder, PickleMeaning } from "./pickle.js";
import {
  describePickle,
  PickleGlobal,
  PickleObject,
  PickleStorage,
  PickleTensor,
  type PickleValue,
} from "./pickle-values.js";
import { STORED_DTYPES } from "./safetensors-header.js";

/** The dtypes of the storages that a network here can hold. */
const STORAGE_DTYPES: ReadonlyMap<string, DType> = new Map([
  ["torch.FloatStorage", "float32"],
  ["torch.DoubleStorage", "float64"],
  ["torch.HalfStorage", "float16"],
  ["torch.BFloat16Storage", "bfloat16"],
  ["torch.LongStorage", "int64"],
  ["torch.IntStorage", "int32"],
  ["torch.ShortStorage", "int16"],
  ["torch.CharStorage", "int8"],
  ["torch.ByteStorage", "uint8"],
  ["torch.BoolStorage", "bool"],
] as const);

/** The bytes of one element in other storages, which TorchScript files can have. */
const OTHER_STORAGE_BYTES: ReadonlyMap<string, number> = new Map([
  ["torch.ComplexFloatStorage", 8],
  ["torch.ComplexDoubleStorage", 16],
  ["torch.QInt8Storage", 1],
  ["torch.QUInt8Storage", 1],
  ["torch.QInt32Storage", 4],
]);

/** A tensor that shows one element many times may be larger than its storage, up to this many bytes. */
const MAX_EXPANDED_BYTES = 16_777_216;

/** Throws an error with a position. */
type Fail = (what: string, position: number) => never;

/** The bytes that one value of a dtype takes. */
export function itemBytes(dtype: DType): number {
  return STORED_DTYPES.find((known) => known.dtype === dtype)?.bytes ?? 1;
}

/** The bytes that one element of a type of storage takes, `"torch.FloatStorage"`; undefined for an unknown type. */
export function storageBytes(type: string): number | undefined {
  const dtype = STORAGE_DTYPES.get(type);
  return dtype === undefined ? OTHER_STORAGE_BYTES.get(type) : itemBytes(dtype);
}

/**
 * What the names in a file of `torch.save` mean: tensors, parameters, ordered dictionaries, sizes.
 * @param fail throws an error with a position
 */
export function torchMeaning(fail: Fail): PickleMeaning {
  const tensor: PickleBuilder = (args, position) => {
    const [storage, offset, shape, strides] = args;
    if (!(storage instanceof PickleStorage))
      return fail(`a tensor of ${describePickle(storage ?? null)} instead of a storage`, position);
    return new PickleTensor({
      storage,
      offset: checkSize(offset, "a tensor's offset", position, fail),
      shape: checkSizes(shape, "a tensor's shape", position, fail),
      strides: checkSizes(strides, "a tensor's strides", position, fail),
    });
  };
  const first: PickleBuilder = (args) => args[0] ?? null;
  return {
    builders: new Map([
      ["torch._utils._rebuild_tensor", tensor],
      ["torch._utils._rebuild_tensor_v2", tensor],
      ["torch._utils._rebuild_parameter", first],
      ["torch._utils._rebuild_parameter_with_state", first],
      ["torch.Size", first],
      ["collections.OrderedDict", (args, position) => orderedDict(args[0], position, fail)],
    ]),
    persistent: ([id], position) => parseStorage(id ?? null, position, fail),
  };
}

/** Old Pythons write an ordered dictionary as a list of pairs. */
function orderedDict(items: PickleValue | undefined, position: number, fail: Fail): PickleValue {
  if (items === undefined) return new Map();
  if (!Array.isArray(items)) return fail(`an OrderedDict of ${describePickle(items)}`, position);
  return new Map(
    items.map((pair): [PickleValue, PickleValue] => {
      if (!Array.isArray(pair) || pair.length !== 2) return fail("an OrderedDict of what are no pairs", position);
      return [pair[0] ?? null, pair[1] ?? null];
    }),
  );
}

/** A persistent id is `("storage", type, key, device, count)`; in old files also `(key, offset, count)` where it is a part of that storage. */
function parseStorage(id: PickleValue, position: number, fail: Fail): PickleValue {
  if (!Array.isArray(id)) return fail(`a persistent id that is ${describePickle(id)}`, position);
  const [kind, type, key, , size, part] = id;
  // In old files, a class with its source: never needed.
  if (kind === "module" && type instanceof PickleGlobal) return type;
  if (kind !== "storage" || !(type instanceof PickleGlobal) || typeof key !== "string")
    return fail("a persistent id that names no storage", position);
  const total = checkSize(size, "a storage's size", position, fail);
  const [, ...place] = Array.isArray(part) ? part : [null, 0, total];
  const [begin, count] = checkSizes(place, "a storage's place in another", position, fail);
  if (begin === undefined || count === undefined || begin + count > total)
    return fail("a storage that reaches beyond the one that it is a part of", position);
  return new PickleStorage({ type: type.name, dtype: STORAGE_DTYPES.get(type.name), key, total, begin, count });
}

function checkSize(value: PickleValue | undefined, what: string, position: number, fail: Fail): number {
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return value;
  return fail(`${what} that is ${typeof value === "number" ? value : describePickle(value ?? null)}`, position);
}

function checkSizes(value: PickleValue | undefined, what: string, position: number, fail: Fail): readonly number[] {
  if (!Array.isArray(value)) return fail(`${what} that is ${describePickle(value ?? null)}`, position);
  if (value.length > 64) return fail(`${what} of ${value.length} dimensions`, position);
  return Object.freeze(value.map((size) => checkSize(size, what, position, fail)));
}

/** How a tensor lies in its storage; sizes and places in bytes. */
export interface TensorLayout {
  readonly dtype: DType;
  /** From the storage's first byte. */
  readonly begin: number;
  /** Undefined for a contiguous tensor. */
  readonly strides: readonly number[] | undefined;
}

/**
 * See where a tensor's values are, and that they are within the storage.
 * @returns the layout, or what is wrong
 */
export function layOutTensor(tensor: PickleTensor): TensorLayout | string {
  const { storage, offset, shape, strides } = tensor;
  const { dtype, count } = storage;
  if (dtype === undefined) return `its values are in a ${storage.type}, which no network here has`;
  const problem = spanProblem(tensor);
  if (problem !== undefined) return problem;
  const bytes = itemBytes(dtype);
  const elements = elementsOf(shape);
  if (elements > count && elements * bytes > MAX_EXPANDED_BYTES)
    return `${formOf(tensor)} show ${count} elements as ${elements}, above the bound of ${MAX_EXPANDED_BYTES} bytes`;
  const begin = (storage.begin + offset) * bytes;
  return { dtype, begin, strides: isContiguous(shape, strides) ? undefined : strides };
}

/** See that what a tensor shows is within its storage. @returns what is wrong; undefined for nothing */
export function spanProblem(tensor: PickleTensor): string | undefined {
  const { storage, offset, shape, strides } = tensor;
  if (shape.length !== strides.length) return `${formOf(tensor)} differ in length`;
  const span = elementsOf(shape) === 0 ? 0 : shape.reduce((sum, size, i) => sum + (size - 1) * (strides[i] ?? 0), 1);
  if (Number.isSafeInteger(span) && offset + span <= storage.count) return undefined;
  return `${formOf(tensor)} from ${offset} reach beyond its storage of ${storage.count} elements`;
}

function formOf({ shape, strides }: PickleTensor): string {
  return `shape [${shape.join(", ")}] and strides [${strides.join(", ")}]`;
}

function elementsOf(shape: readonly number[]): number {
  return shape.includes(0) ? 0 : shape.reduce((product, size) => product * size, 1);
}

function isContiguous(shape: readonly number[], strides: readonly number[]): boolean {
  if (shape.includes(0)) return true;
  let expected = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    const size = shape[i] ?? 1;
    if (size !== 1 && strides[i] !== expected) return false;
    expected *= size;
  }
  return true;
}

/** Tell what stands in the place of a tensor. */
export function describeEntry(value: PickleValue): string {
  return value instanceof PickleObject
    ? `${describePickle(value)}, which is not built: only tensors are read`
    : `${describePickle(value)}, not a tensor`;
}
