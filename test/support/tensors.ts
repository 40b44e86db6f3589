import { readFileSync } from "node:fs";
import { Tensor } from "../../lib/torch/tensor.js";
import type { DType } from "../../lib/native/contract.js";

/** One tensor of a reference file, as Python wrote it. */
export interface ReferenceTensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** The raw little-endian bytes. */
  readonly data: Uint8Array;
  /** The values, widened without loss (int64 beyond 2^53 excepted). */
  values(): number[];
}

/** What assertions need of tap's `t`. */
interface Reporter {
  pass(message: string): boolean;
  fail(message: string): boolean;
}

const DTYPE_OF_CODE: Readonly<Record<string, readonly [dtype: DType, bytes: number]>> = {
  F64: ["float64", 8],
  F32: ["float32", 4],
  F16: ["float16", 2],
  BF16: ["bfloat16", 2],
  I64: ["int64", 8],
  I32: ["int32", 4],
  I16: ["int16", 2],
  I8: ["int8", 1],
  U8: ["uint8", 1],
  BOOL: ["bool", 1],
};

/** Read a safetensors file whole. Kept apart from lib/pretrained, so that a mistake there cannot hide itself here. */
export function readTensors(path: string): Map<string, ReferenceTensor> {
  const file = readFileSync(path);
  const start = 8 + Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString("utf8", 8, start)) as Record<
    string,
    { dtype: string; shape: number[]; data_offsets: [number, number] }
  >;
  const tensors = new Map<string, ReferenceTensor>();
  for (const [name, entry] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    const known = DTYPE_OF_CODE[entry.dtype];
    if (!known) throw new Error(`${path}: ${name} has the unknown dtype ${entry.dtype}`);
    const data = Uint8Array.from(file.subarray(start + entry.data_offsets[0], start + entry.data_offsets[1]));
    const [dtype, bytes] = known;
    tensors.set(name, { dtype, shape: entry.shape, data, values: () => decode(data, dtype, bytes) });
  }
  return tensors;
}

/** Pick one tensor of a reference file, or say that it is missing. */
export function pick(tensors: ReadonlyMap<string, ReferenceTensor>, name: string): ReferenceTensor {
  const found = tensors.get(name);
  if (!found) throw new Error(`The reference file holds no ${name}, only ${[...tensors.keys()].join(", ")}`);
  return found;
}

/** Make a tensor on the CPU with the same dtype, shape and bits. */
export function toTensor({ dtype, shape, data, values }: ReferenceTensor): Tensor {
  if (dtype === "int64") return Tensor.from(new BigInt64Array(data.buffer), shape);
  if (dtype === "float64") return Tensor.from(new Float64Array(data.buffer), shape);
  if (dtype === "int32") return Tensor.from(new Int32Array(data.buffer), shape);
  return Tensor.from(Float32Array.from(values()), shape, { dtype });
}

/**
 * Assert that a tensor has the reference's dtype, shape and values.
 * @param options `tolerance` 0: bit for bit; otherwise the largest difference allowed, relative to the largest magnitude
 */
export async function assertTensorEqual(
  t: Reporter,
  actual: Tensor,
  expected: ReferenceTensor,
  options: { tolerance: number; name: string },
): Promise<boolean> {
  const { tolerance, name } = options;
  const form = `${actual.dtype} [${actual.shape.join(", ")}]`;
  const expectedForm = `${expected.dtype} [${expected.shape.join(", ")}]`;
  if (form !== expectedForm) return t.fail(`${name}: expected ${expectedForm} but received ${form}`);
  const values = Array.from(await actual.data(), Number);
  const wanted = expected.values();
  const scale = wanted.reduce(
    (largest, value) => (Number.isFinite(value) ? Math.max(largest, Math.abs(value)) : largest),
    0,
  );
  const worst = worstDifference(values, wanted);
  const largestAllowed = tolerance * scale;
  if (worst.differing === 0 || (tolerance > 0 && worst.error <= largestAllowed)) {
    return t.pass(
      `${name}: ${worst.differing === 0 ? "bit for bit" : `within ${tolerance} (worst ${(worst.error / scale).toExponential(1)})`}`,
    );
  }
  return t.fail(
    `${name}: ${worst.differing} of ${values.length} values differ; worst at [${unravel(worst.index, actual.shape).join(", ")}]: ` +
      `received ${worst.actual}, expected ${worst.expected}, error ${worst.error.toExponential(3)}, ` +
      `relative to the largest magnitude ${(worst.error / scale).toExponential(3)}, allowed ${tolerance}`,
  );
}

interface Difference {
  differing: number;
  index: number;
  actual: number;
  expected: number;
  error: number;
}

/** Count the values that are not the same bits (the sign of zero counts, NaN equals NaN) and find the worst of them. */
function worstDifference(actual: readonly number[], expected: readonly number[]): Difference {
  const worst: Difference = { differing: 0, index: -1, actual: 0, expected: 0, error: 0 };
  expected.forEach((wanted, index) => {
    const value = actual[index] ?? NaN;
    if (Object.is(value, wanted)) return;
    worst.differing++;
    // A NaN or infinity that is not expected is infinitely wrong, so that no tolerance lets it pass.
    const error = Number.isFinite(value) && Number.isFinite(wanted) ? Math.abs(value - wanted) : Infinity;
    if (worst.index < 0 || error > worst.error) Object.assign(worst, { index, actual: value, expected: wanted, error });
  });
  return worst;
}

function unravel(index: number, shape: readonly number[]): number[] {
  let rest = index;
  return [...shape]
    .reverse()
    .map((size) => {
      const position = rest % size;
      rest = Math.floor(rest / size);
      return position;
    })
    .reverse();
}

function decode(data: Uint8Array, dtype: DType, bytes: number): number[] {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  return Array.from({ length: data.byteLength / bytes }, (_, i) => decodeOne(view, dtype, i * bytes));
}

function decodeOne(view: DataView, dtype: DType, at: number): number {
  switch (dtype) {
    case "float64":
      return view.getFloat64(at, true);
    case "float32":
      return view.getFloat32(at, true);
    case "float16":
      return decodeHalf(view.getUint16(at, true));
    case "bfloat16":
      return decodeBrain(view.getUint16(at, true));
    case "int64":
      return Number(view.getBigInt64(at, true));
    case "int32":
      return view.getInt32(at, true);
    case "int16":
      return view.getInt16(at, true);
    case "int8":
      return view.getInt8(at);
    default:
      return view.getUint8(at);
  }
}

function decodeHalf(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

function decodeBrain(bits: number): number {
  const view = new DataView(new ArrayBuffer(4));
  view.setUint32(0, bits << 16);
  return view.getFloat32(0);
}
