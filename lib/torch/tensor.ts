import { inspect, types } from "node:util";
import { checkDevice } from "./device.js";
import { InvalidArgumentError, LatentDiffusionError } from "../errors.js";
import { run, settle } from "../native/calls.js";
import {
  type ArrayOf,
  type Device,
  type DType,
  type DTypeOf,
  DTYPES,
  type NativeArgument,
  type NativeResult,
  type NumericArray,
  type TensorHandle,
} from "../native/contract.js";
import { native } from "../native/open.js";
import { brandOf, hasBrand, markClass } from "../native/brand.js";
import { EDGE, formatValues } from "./tensor-format.js";
import type { Operators } from "./operators.js";
import { checkArray, checkInteger, checkOneOf, checkOptions, isArray, unexpected } from "../validate.js";

/** A tensor of so many elements is printed whole. */
const PRINTED_WHOLE = 64;
/** No more elements than these are printed, whatever the number of dimensions. */
const PRINTED_MOST = 1500;

/** The dtype that each typed array carries by itself; arrays of another realm (Jest, `vm`) are recognised too. */
const ARRAY_DTYPES: readonly (readonly [(value: unknown) => boolean, DType])[] = [
  [types.isFloat32Array, "float32"],
  [types.isFloat64Array, "float64"],
  [types.isBigInt64Array, "int64"],
  [types.isInt32Array, "int32"],
  [types.isInt16Array, "int16"],
  [types.isInt8Array, "int8"],
  [types.isUint8Array, "uint8"],
];

/** Most of LibTorch's operators refuse more: "only tensors with up to 64 dims are supported". */
const MOST_DIMENSIONS = 64;

/** Where a tensor goes, and what it is converted to. */
export interface TensorTarget<D extends DType = DType> {
  /** Default: the device where it is. */
  device?: Device;
  /** Default: its own. */
  dtype?: D;
}

const BRAND = brandOf("Tensor");
const INTERNAL = Symbol("latent-diffusion internal");

/**
 * An immutable n-dimensional array that LibTorch holds. Freed by the garbage collector, or at once by `dispose()`.
 * `Tensor<"float32">` says what the elements are, where TypeScript knows it; a plain `Tensor` may be of any dtype.
 * @see torch.Tensor
 */
export class Tensor<D extends DType = DType> {
  /** Sizes of the dimensions, outermost first. */
  readonly shape: readonly number[];
  readonly dtype: D;
  readonly device: Device;
  #handle: TensorHandle | undefined;

  /** Not for callers: use {@link Tensor.from}. */
  private constructor(internal: typeof INTERNAL, handle: TensorHandle) {
    if (internal !== INTERNAL)
      throw new InvalidArgumentError("Tensor is not constructed directly; use Tensor.from(data, shape)");
    const info = native().tensorInfo(handle);
    this.shape = Object.freeze(info.shape);
    this.dtype = info.dtype as D;
    this.device = info.device;
    this.#handle = handle;
  }

  /**
   * Copy a typed array, of any realm, into a new tensor.
   * @param data row-major values; its type gives the dtype unless `dtype` is set
   * @param shape sizes of the dimensions; their product is the array's length; default: one dimension
   * @param options `dtype` to convert to (16-bit floats and bool have no typed array)
   * @throws InvalidArgumentError `ERR_INVALID_ARGUMENT` if the shape does not fit
   * @example
   * const x = Tensor.from(new Float32Array([1, 2, 3, 4]), [2, 2]);
   */
  static from<Data extends NumericArray | readonly number[]>(
    data: Data,
    shape?: readonly number[],
    options?: { dtype?: undefined },
  ): Tensor<DTypeOf<Data>>;
  static from<D extends DType>(
    data: NumericArray | readonly number[],
    shape: readonly number[] | undefined,
    options: { dtype: D },
  ): Tensor<D>;
  static from(data: NumericArray | readonly number[], shape?: readonly number[], options?: { dtype?: DType }): Tensor;
  static from(data: NumericArray | readonly number[], shape?: readonly number[], options?: { dtype?: DType }): Tensor {
    const { dtype } = checkOptions(options, ["dtype"], "Tensor.from");
    if (dtype !== undefined) checkOneOf(dtype, "dtype", DTYPES);
    const source = isArray(data) ? Float32Array.from(checkNumbers(data)) : data;
    const own = ARRAY_DTYPES.find(([isOfType]) => isOfType(source))?.[1];
    if (own === undefined) throw unexpected("a typed array or an array of numbers", "data", data);
    const sizes = checkShape(shape ?? [source.length], "shape");
    const count = sizes.reduce((product, size) => product * size, 1);
    if (count !== source.length) {
      throw new InvalidArgumentError(
        `Expected ${count} elements for shape [${sizes.join(", ")}] but received ${source.length}`,
      );
    }
    const handle = run(() => native().tensorFrom(unshared(source as NumericArray), sizes, own), Tensor.from);
    const tensor = new Tensor(INTERNAL, handle);
    return dtype === undefined || dtype === own ? tensor : op("to.dtype", tensor, dtype);
  }

  /** Number of elements. @see torch.Tensor.numel */
  get numel(): number {
    return this.shape.reduce((product, size) => product * size, 1);
  }

  /** Whether {@link dispose} was called. */
  get disposed(): boolean {
    return this.#handle === undefined;
  }

  /**
   * Copy the values to the host, in row-major order.
   * @returns the dtype's typed array; 16-bit floats arrive as float32, bool as uint8, int64 as BigInt64Array
   * @throws LatentDiffusionError `ERR_DISPOSED`, `ERR_OUT_OF_MEMORY`
   */
  data(): Promise<ArrayOf<D>> {
    return settle(() => native().tensorData(handleOf(this)) as Promise<ArrayOf<D>>, this.data);
  }

  /**
   * As {@link data}, at once; for small tensors on the CPU.
   * @throws InvalidArgumentError for a tensor on another device
   */
  dataSync(): ArrayOf<D> {
    return run(() => native().tensorDataSync(handleOf(this)) as ArrayOf<D>, this.dataSync);
  }

  /**
   * Copy to another device, convert to another dtype, or both; itself if nothing changes.
   * @param targets `"cuda"`, `"float16"`, in either order, or `{ device, dtype }`
   * @throws LatentDiffusionError `ERR_DEVICE_UNAVAILABLE`, `ERR_OUT_OF_MEMORY`, `ERR_DISPOSED`
   * @example
   * const half = await tensor.to({ dtype: "float16" });
   */
  to(device: Device): Promise<Tensor<D>>;
  to<To extends DType>(dtype: To, device?: Device): Promise<Tensor<To>>;
  to<To extends DType>(device: Device, dtype: To): Promise<Tensor<To>>;
  to<To extends DType = D>(target: TensorTarget<To>): Promise<Tensor<To>>;
  to(...targets: readonly (Device | DType | TensorTarget)[]): Promise<Tensor>;
  async to<To extends DType>(...targets: readonly (Device | DType | TensorTarget | undefined)[]): Promise<Tensor<To>> {
    let device: Device | null = null;
    let dtype: DType | null = null;
    for (const target of targets) {
      const named = typeof target === "object" ? target : { [isDType(target) ? "dtype" : "device"]: target };
      const given = checkOptions<TensorTarget>(named, ["device", "dtype"], "Tensor.to");
      if (given.dtype !== undefined) dtype = checkOneOf(given.dtype, "dtype", DTYPES);
      if (given.device !== undefined) device = checkDevice(given.device, "device or dtype");
    }
    const handle = handleOf(this);
    if ((device ?? this.device) === this.device && (dtype ?? this.dtype) === this.dtype)
      return this as Tensor as Tensor<To>;
    return new Tensor<To>(INTERNAL, await settle(() => native().tensorTo(handle, device, dtype), this.to));
  }

  /** Free the memory now, unless work in the queue still holds it; a second call does nothing. */
  dispose(): void {
    if (this.#handle) native().dispose(this.#handle);
    this.#handle = undefined;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  [inspect.custom](depth?: number): string {
    // A TorchScript file may return a tensor of any number of dimensions.
    const isDeep = this.shape.length > MOST_DIMENSIONS;
    const sizes =
      this.shape.slice(0, MOST_DIMENSIONS).join(", ") + (isDeep ? `, ... (${this.shape.length} sizes)` : "");
    const head = `Tensor([${sizes}], ${this.dtype}, ${this.device}`;
    if (this.disposed) return `${head}, disposed)`;
    if (isDeep) return `${head})`;
    const elided = this.shape.map((size) => this.numel > PRINTED_WHOLE && size > 2 * EDGE);
    const count = this.shape.reduce((product, size, i) => product * (elided[i] ? 2 * EDGE : size), 1);
    if (this.device !== "cpu" || count > PRINTED_MOST || (depth ?? 0) < 0) return `${head})`;
    const shown = elided.reduce<Tensor>((tensor, isElided, dim) => (isElided ? edgesOf(tensor, dim) : tensor), this);
    const text = formatValues(shown.dataSync(), shown.shape, this.dtype, elided);
    if (shown !== this) shown.dispose();
    return `${head})${text.includes("\n") ? "\n" : " "}${text}`;
  }

  /** @internal */
  static handleOf(tensor: Tensor): TensorHandle {
    if (!hasBrand(tensor, BRAND)) throw unexpected("a Tensor", "tensor", tensor);
    return (tensor as unknown as Record<symbol, () => TensorHandle>)[BRAND]?.() as TensorHandle;
  }

  /** @internal */
  static wrap<D extends DType = DType>(handle: TensorHandle): Tensor<D> {
    return new Tensor<D>(INTERNAL, handle);
  }

  static {
    markClass(Tensor, BRAND, function (this: Tensor): TensorHandle {
      if (!this.#handle) throw new LatentDiffusionError("ERR_DISPOSED", "This tensor was disposed");
      return this.#handle;
    });
  }
}

/** @internal The native handle of a tensor that is not disposed. */
export const handleOf = Tensor.handleOf;

/** @internal Wrap a native handle. */
export const wrapTensor = Tensor.wrap;

function isDType(value: unknown): value is DType {
  return DTYPES.some((name) => name === value);
}

/** The two ends of a dimension; what is only passed on is left to the garbage collector. */
function edgesOf(tensor: Tensor, dim: number): Tensor {
  const size = tensor.shape[dim] ?? 0;
  return op("cat", [op("slice.Tensor", tensor, dim, 0, EDGE), op("slice.Tensor", tensor, dim, size - EDGE, size)], dim);
}

/** Node-API does not look into shared memory: what lies there is copied once more. */
function unshared(data: NumericArray): NumericArray {
  return types.isSharedArrayBuffer(data.buffer) ? data.slice() : data;
}

function checkNumbers(data: unknown): number[] {
  const check = (value: unknown, i: number): number => {
    if (typeof value !== "number") throw unexpected("a number", `data[${i}]`, value);
    return value;
  };
  return checkArray(data, "an array of numbers", "data", check, 2 ** 32);
}

/** Check sizes of dimensions. */
export function checkShape(value: unknown, option: string): readonly number[] {
  const check = (size: unknown, i: number): number => checkInteger(size, `${option}[${i}]`, 0);
  return checkArray(value, "an array of sizes", option, check, MOST_DIMENSIONS);
}

type Operand = Tensor | number | boolean | string | null | undefined | readonly number[] | readonly Tensor[];

/**
 * Run one operator at once on the calling thread; for the small tensors of schedulers.
 * Scalars follow PyTorch's type promotion: a number never widens a tensor's dtype. A whole number is an int, as in Python; `-0`, which
 * Python's ints do not have, is a float.
 * @throws LatentDiffusionError `ERR_TORCH` with LibTorch's message for operands that do not fit, `ERR_DISPOSED`
 */
export function op<Name extends keyof Operators>(name: Name, ...operands: Parameters<Operators[Name]>): Tensor {
  return wrapResult(run(() => native().op(name, lower(operands as readonly Operand[])), op));
}

/** Run one operator on the executor of the first tensor's device; for tensors of an image's size and more. */
export async function opAsync<Name extends keyof Operators>(
  name: Name,
  ...operands: Parameters<Operators[Name]>
): Promise<Tensor> {
  return wrapResult(await settle(() => native().opAsync(name, lower(operands as readonly Operand[])), opAsync));
}

function lower(operands: readonly Operand[]): NativeArgument[] {
  return checkArray(operands, "operands", "op", (operand, i) =>
    isArray(operand)
      ? (checkArray(operand, "an array", `operand ${i} of op`, lowerOne) as NativeArgument)
      : lowerOne(operand),
  );
}

function lowerOne(operand: unknown): NativeArgument {
  return operand instanceof Tensor ? handleOf(operand as Tensor) : (operand as NativeArgument);
}

function wrapResult(result: NativeResult): Tensor {
  if (typeof result !== "object" || Array.isArray(result))
    throw new LatentDiffusionError("ERR_INTERNAL", "An operator did not return one tensor");
  return wrapTensor(result as TensorHandle);
}
