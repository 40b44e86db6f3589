import { inspect, types } from "node:util";
import { brandOf, markClass } from "../native/brand.js";
import { checkDevice } from "./device.js";
import { InvalidArgumentError, LatentDiffusionError } from "../errors.js";
import { run, settle } from "../native/calls.js";
import {
  type Device,
  type DType,
  DTYPES,
  type GeneratorHandle,
  type NativeArgument,
  type TensorHandle,
} from "../native/contract.js";
import { native } from "../native/open.js";
import { checkShape, type Tensor, wrapTensor } from "./tensor.js";
import { checkOneOf, checkOptions, unexpected } from "../validate.js";

/** A generator as its mark shows it. */
type Marked = Partial<Record<symbol, (shape: readonly number[], dtype: DType) => readonly NativeArgument[]>>;

const BRAND = brandOf("Generator");
const INTERNAL = Symbol("latent-diffusion internal");

/**
 * A source of random numbers with a state of its own; the same seed gives PyTorch's numbers bit for bit.
 * @see torch.Generator
 */
export class Generator {
  readonly device: Device;
  #handle: GeneratorHandle | undefined;

  /** Not for callers: use {@link Generator.fromSeed}. */
  private constructor(internal: typeof INTERNAL, handle: GeneratorHandle) {
    if (internal !== INTERNAL)
      throw new InvalidArgumentError("Generator is not constructed directly; use Generator.fromSeed(seed)");
    this.device = native().generatorInfo(handle).device;
    this.#handle = handle;
  }

  /**
   * Make a generator, as `torch.Generator(device).manual_seed(seed)`.
   * @param seed an integer in [-2^63, 2^64), a bigint beyond 2^53; negative ones count from 2^64 down, as in PyTorch
   * @throws InvalidArgumentError `ERR_INVALID_ARGUMENT`; LatentDiffusionError `ERR_DEVICE_UNAVAILABLE`
   * @example
   * const images = await pipe.generate({ generator: Generator.fromSeed(42) });
   */
  static fromSeed(seed: number | bigint, options?: { device?: Device }): Generator {
    const { device = "cpu" } = checkOptions(options, ["device"], "Generator.fromSeed");
    const value = checkSeed(seed, "seed");
    const full = checkDevice(device, "device");
    return new Generator(
      INTERNAL,
      run(() => native().generatorCreate(full, value), Generator.fromSeed),
    );
  }

  /** The seed that the generator was made with. */
  get seed(): bigint {
    return native().generatorInfo(this.#open()).seed;
  }

  /** Copy the state out: 5056 bytes on the CPU, `torch.Generator.get_state()`'s. */
  getState(): Uint8Array {
    return run(() => native().generatorGetState(this.#open()), this.getState);
  }

  /**
   * Put a state back that {@link getState} (or PyTorch) gave.
   * @throws InvalidArgumentError `ERR_INVALID_ARGUMENT` if it is not a state of this device's generator
   */
  setState(state: Uint8Array): this {
    if (!types.isUint8Array(state)) throw unexpected("a Uint8Array", "state", state);
    // Shared memory may change while it is checked.
    const own = types.isSharedArrayBuffer(state.buffer) ? state.slice() : state;
    run(() => native().generatorSetState(this.#open(), own), this.setState);
    return this;
  }

  /** Make a second generator with the same state. */
  clone(): Generator {
    return Generator.fromSeed(this.seed, { device: this.device }).setState(this.getState());
  }

  /**
   * Draw standard normal numbers on the generator's device, as `torch.randn(shape, generator=, dtype=)`.
   * @param options `dtype`: a floating one, `"float32"` by default; 16-bit ones draw another sequence, as in PyTorch
   */
  randn(shape: readonly number[], options?: { dtype?: DType }): Tensor {
    const { dtype = "float32" } = checkOptions(options, ["dtype"], "Generator.randn");
    const args = this.#arguments(shape, dtype);
    return wrapTensor(run(() => native().op("randn.generator", args), this.randn) as TensorHandle);
  }

  /** Draw numbers from [0, 1), as `torch.rand`. */
  rand(shape: readonly number[], options?: { dtype?: DType }): Tensor {
    const { dtype = "float32" } = checkOptions(options, ["dtype"], "Generator.rand");
    const args = this.#arguments(shape, dtype);
    return wrapTensor(run(() => native().op("rand.generator", args), this.rand) as TensorHandle);
  }

  /**
   * @internal Draw float32 numbers on the executor: the same as {@link rand}'s or {@link randn}'s, for tensors of a network's size. The
   * next draw must wait for this one.
   */
  static async draw(generator: Generator, kind: "rand" | "randn", shape: readonly number[]): Promise<Tensor> {
    // The generator may be of another copy of this version, whose private members are out of reach.
    const args = (generator as unknown as Marked)[BRAND]?.(shape, "float32") ?? [];
    return wrapTensor(
      (await settle(() => native().opAsync(`${kind}.generator`, args), Generator.draw)) as TensorHandle,
    );
  }

  /** Free the state; a second call does nothing. */
  dispose(): void {
    if (this.#handle) native().dispose(this.#handle);
    this.#handle = undefined;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  [inspect.custom](): string {
    return this.#handle ? `Generator(${this.device}, seed ${this.seed})` : `Generator(${this.device}, disposed)`;
  }

  static {
    markClass(Generator, BRAND, function (this: Generator, shape: readonly number[], dtype: DType) {
      return this.#arguments(shape, dtype);
    });
  }

  #arguments(shape: readonly number[], dtype: DType): readonly NativeArgument[] {
    return [checkShape(shape, "shape"), this.#open(), checkOneOf(dtype, "dtype", DTYPES), null, this.device];
  }

  #open(): GeneratorHandle {
    if (!this.#handle) throw new LatentDiffusionError("ERR_DISPOSED", "This generator was disposed");
    return this.#handle;
  }
}

/** Check a seed as `torch.Generator.manual_seed` takes it. @returns the seed as an unsigned 64-bit integer */
export function checkSeed(value: unknown, option: string): bigint {
  const integer =
    typeof value === "bigint" || Number.isSafeInteger(value) ? BigInt(value as number | bigint) : undefined;
  if (integer === undefined || integer < -(2n ** 63n) || integer >= 2n ** 64n) {
    throw unexpected("an integer from -2^63 to 2^64 - 1 (a bigint beyond 2^53)", option, value);
  }
  return BigInt.asUintN(64, integer);
}
