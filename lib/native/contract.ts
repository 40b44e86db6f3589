/** The element types that cross the boundary, under PyTorch's names. */
export type DType =
  "float32" | "float64" | "float16" | "bfloat16" | "int64" | "int32" | "int16" | "int8" | "uint8" | "bool";

/** All of them, for checks. */
export const DTYPES: readonly DType[] = [
  "float32",
  "float64",
  "float16",
  "bfloat16",
  "int64",
  "int32",
  "int16",
  "int8",
  "uint8",
  "bool",
];

/** A device under PyTorch's names; `"cuda"` is `"cuda:0"`. */
export type Device = "cpu" | "cuda" | `cuda:${number}`;

/** The dtypes that a typed array carries by itself. */
export interface TypedArrays {
  float32: Float32Array;
  float64: Float64Array;
  int64: BigInt64Array;
  int32: Int32Array;
  int16: Int16Array;
  int8: Int8Array;
  uint8: Uint8Array;
}

/** The typed arrays that hold a tensor's values. */
export type NumericArray = TypedArrays[keyof TypedArrays];

/** The typed array that a dtype's values arrive in: 16-bit floats in a Float32Array, bool in a Uint8Array. */
export type ArrayOf<D extends DType> = D extends keyof TypedArrays
  ? TypedArrays[D]
  : D extends "bool"
    ? Uint8Array
    : Float32Array;

/** The dtype that an array carries by itself; plain numbers become float32. */
export type DTypeOf<Data> = Data extends readonly number[]
  ? "float32"
  : { [D in keyof TypedArrays]: Data extends TypedArrays[D] ? D : never }[keyof TypedArrays];

declare const kind: unique symbol;
/** An opaque, type-tagged reference to a native object; the wrong kind is refused natively. */
interface Handle<K extends string> {
  readonly [kind]: K;
}
export type TensorHandle = Handle<"tensor">;
export type GeneratorHandle = Handle<"generator">;
export type CheckpointHandle = Handle<"checkpoint">;
export type ModuleHandle = Handle<"module">;
export type ExecutableHandle = Handle<"executable">;
export type FlagHandle = Handle<"flag">;

/** What an operator takes: handles and plain values, in the order of the operator's schema; undefined is its default. */
export type NativeArgument =
  | TensorHandle
  | GeneratorHandle
  | number
  | boolean
  | string
  | null
  | undefined
  | readonly number[]
  | readonly TensorHandle[];

export type NativeResult = TensorHandle | number | boolean | readonly NativeResult[];

/** One class of a network: its TorchScript methods, the parameters it owns, its children by attribute name. */
export interface ModuleSpec {
  /** A class name, `[A-Za-z_][A-Za-z0-9_]*`. */
  readonly name: string;
  /** The methods, in TorchScript. Composed from closed tables and checked numbers only. */
  readonly source: string;
  /** Parameter name (one segment) and shape, in registration order. */
  readonly parameters: readonly (readonly [name: string, shape: readonly number[]])[];
  readonly children: readonly (readonly [name: string, spec: ModuleSpec])[];
}

/** Where one parameter's values are: in memory, or in an open file from `offset` on (little-endian; contiguous without strides). */
export type NativeWeight =
  | TensorHandle
  | readonly [
      file: CheckpointHandle,
      dtype: DType,
      shape: readonly number[],
      offset: number,
      strides: readonly number[] | undefined,
    ];

export interface ModuleInfo {
  readonly methods: readonly string[];
  readonly parameters: readonly { readonly name: string; readonly shape: readonly number[]; readonly dtype: DType }[];
  /** A device or floating dtype that the code names as a constant, as traces do; null where it names none. */
  readonly bakedDevice: Device | null;
  readonly bakedDtype: DType | null;
}

export interface NativeRuntimeInfo {
  /** The LibTorch version that the addon was compiled against. */
  readonly builtWith: string;
  /** The instruction set that LibTorch's own kernels use: `"AVX512"`, `"AVX2"`, `"DEFAULT"`... */
  readonly cpuCapability: string;
  readonly cudaDevices: number;
  /** Intra-op threads of the CPU executor. */
  readonly threads: number;
}

export interface DeriveOptions {
  readonly device: Device;
  /** What floating weights are cast to; null: each stays as it is. */
  readonly dtype: DType | null;
  readonly optimize: boolean;
}

/** All calls of one operator whose first tensor has one shape. */
export interface OperatorTime {
  /** `"aten::silu [1, 224, 64, 64]"` */
  readonly name: string;
  readonly calls: number;
  /** Without the operators that it called. */
  readonly milliseconds: number;
}

/**
 * The addon's exports, one to one; `test/native/native.test.ts` holds this list against the binary.
 * Synchronous ones run on the caller's thread with one intra-op thread; promises are settled by the device's executor.
 */
export interface Addon {
  runtimeInfo(): NativeRuntimeInfo;
  /** Threads of the CPU executor; takes effect with its next job. */
  setThreads(count: number): void;
  /** How many forwards may wait for each device: one more is refused with `ERR_QUEUE_FULL`. */
  setMaxQueue(count: number): void;
  /** Start counting operators' own times (true), or stop and return them, the largest first (false). */
  profileOperators(start: boolean): readonly OperatorTime[] | undefined;
  /** Cancel what is queued and wait some seconds for what runs; if that does not end, end the process here, with its exit code. */
  shutdown(exitCode: number): void;
  dispose(handle: Handle<string>): void;

  tensorFrom(data: NumericArray, shape: readonly number[], dtype: DType): TensorHandle;
  tensorInfo(tensor: TensorHandle): { shape: number[]; dtype: DType; device: Device; bytes: number };
  tensorData(tensor: TensorHandle): Promise<NumericArray>;
  /** CPU tensors only. */
  tensorDataSync(tensor: TensorHandle): NumericArray;
  tensorTo(tensor: TensorHandle, device: Device | null, dtype: DType | null): Promise<TensorHandle>;
  /** Run an allow-listed `aten` operator, `"add.Tensor"`. */
  op(name: string, args: readonly NativeArgument[]): NativeResult;
  /** The same on the executor of the first tensor's device. */
  opAsync(name: string, args: readonly NativeArgument[]): Promise<NativeResult>;

  generatorCreate(device: Device, seed: bigint): GeneratorHandle;
  generatorInfo(generator: GeneratorHandle): { device: Device; seed: bigint };
  generatorGetState(generator: GeneratorHandle): Uint8Array;
  generatorSetState(generator: GeneratorHandle, state: Uint8Array): void;

  checkpointOpen(path: string): Promise<{ handle: CheckpointHandle; size: number }>;
  checkpointRead(file: CheckpointHandle, offset: number, length: number): Promise<Uint8Array>;
  /** Write `header`, then each tensor's bytes, cast to `dtype` where one is given (floating tensors only), and fsync. */
  checkpointWrite(
    path: string,
    header: Uint8Array,
    weights: readonly NativeWeight[],
    dtype: DType | null,
  ): Promise<void>;

  moduleDefine(spec: ModuleSpec): Promise<ModuleHandle>;
  /** Runs code of the file. */
  moduleLoad(path: string): Promise<ModuleHandle>;
  moduleInfo(module: ModuleHandle): ModuleInfo;
  /** Build what runs; `weights` in the order of {@link ModuleInfo.parameters}, null for a module loaded from a file. */
  moduleDerive(
    module: ModuleHandle,
    weights: readonly NativeWeight[] | null,
    options: DeriveOptions,
  ): Promise<ExecutableHandle>;
  /** Write a file for `torch.jit.load`, on the CPU, floating tensors in `dtype` (null: as stored). */
  moduleSave(
    module: ModuleHandle,
    weights: readonly NativeWeight[] | null,
    path: string,
    dtype: DType | null,
  ): Promise<void>;
  moduleForward(
    executable: ExecutableHandle,
    method: string,
    args: readonly NativeArgument[],
    cancel: FlagHandle | null,
  ): Promise<NativeResult>;

  /** A flag cancels the forwards that it was given to, and makes them one caller's: callers take turns. */
  flagCreate(): FlagHandle;
  flagSet(flag: FlagHandle): void;
}

/** The exports of the tiny addon that opens LibTorch; it links nothing, so it always loads. */
export interface Loader {
  /** Open a shared library for good; @returns null, or why it could not be. */
  open(path: string): string | null;
  /** Where the process's library of this file name came from, whoever opened it; null if none did. */
  opened(name: string): string | null;
  /** A variable of the process, which a worker's `process.env` only copies. */
  environment(name: string): string | null;
  /** Set a variable that LibTorch's libraries read as they are opened, unless the user has. */
  setEnvironment(name: string, value: string): void;
  /** Lock an open file until it is closed, as Python's filelock does, without waiting; @returns false if another one holds it, null without such locks. */
  lock(fd: number): boolean | null;
}

/** How idle OpenMP threads wait for the next parallel region. */
export type WaitPolicy = "balanced" | "active" | "passive";
