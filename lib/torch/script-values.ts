// What goes into a TorchScript module and what comes out of it.
import type {
  CheckpointHandle,
  DType,
  NativeArgument,
  NativeResult,
  NativeWeight,
  TensorHandle,
} from "../native/contract.js";
import { handleOf, Tensor, wrapTensor } from "./tensor.js";

/** One parameter's values: a tensor, or a place in an open checkpoint. */
export type Weight = Tensor | StoredTensor;

/** A tensor of an open checkpoint file, not read yet. */
export interface StoredTensor {
  readonly file: CheckpointHandle;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Bytes from the start of the file. */
  readonly offset: number;
  /** In elements; absent for a contiguous tensor. */
  readonly strides?: readonly number[];
}

/** A weight as the addon takes it. */
export function lowerWeight(weight: Weight): NativeWeight {
  if (weight instanceof Tensor) return handleOf(weight);
  return [weight.file, weight.dtype, weight.shape, weight.offset, weight.strides];
}

/** What a TorchScript method takes. */
export type ScriptArgument = Tensor | number | boolean | null;

/** What a TorchScript method returns; a tuple and a list arrive as an array. */
export type ScriptResult = Tensor | number | boolean | readonly ScriptResult[];

/** An argument as the addon takes it. */
export function lowerArgument(arg: unknown): NativeArgument {
  return arg instanceof Tensor ? handleOf(arg as Tensor) : (arg as NativeArgument);
}

/** A result as callers take it. */
export function raiseResult(result: NativeResult): ScriptResult {
  if (Array.isArray(result)) return result.map(raiseResult);
  return typeof result === "object" ? wrapTensor(result as TensorHandle) : result;
}
