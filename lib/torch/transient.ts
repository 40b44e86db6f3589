import type { Device, DType } from "../native/contract.js";
import { op, opAsync, type Tensor } from "./tensor.js";

/** Where something is, and what it computes in. */
export interface Place {
  readonly device: Device;
  readonly dtype: DType;
}

/**
 * Use tensors together with a network that may be moved at any time: first bring the tensors to where the network is.
 * @param network where the tensors are needed; read again after every wait
 * @param held the tensors; those that are moved are freed and replaced in place
 * @param use called when all tensors are at the network's place, with no wait in between
 * @returns what `use` returns
 */
export async function runAt<Result>(network: Place, held: Tensor[], use: () => Promise<Result>): Promise<Result> {
  while (held.some(({ device, dtype }) => device !== network.device || dtype !== network.dtype)) {
    for (const [i, before] of held.entries()) {
      const moved = await before.to(network.device, network.dtype);
      if (moved !== before) before.dispose();
      held[i] = moved;
    }
  }
  return use();
}

/**
 * Take a tensor through operations one after the other, on the executor or not, and free each tensor before the last.
 * @param input freed, also on failure
 * @returns the last result, the caller's to free
 */
export async function applyInTurn(
  input: Tensor,
  operations: readonly ((x: Tensor) => Tensor | Promise<Tensor>)[],
): Promise<Tensor> {
  let x = input;
  for (const operation of operations) {
    let next: Tensor | undefined;
    try {
      next = await operation(x);
    } finally {
      // An operation that changes nothing may return what it was given.
      if (next !== x) x.dispose();
    }
    x = next;
  }
  return x;
}

/** Tensors of up to so many elements are looked at on the event loop: it takes less time than a thread hop. */
const SMALL = 2 ** 17;

/** Tell whether no element of a floating tensor is NaN or infinite. */
export async function isAllFinite(tensor: Tensor): Promise<boolean> {
  const small = tensor.device === "cpu" && tensor.numel <= SMALL;
  // The largest magnitude is NaN if any element is NaN, and infinite if any is infinite.
  const magnitudes = small ? op("abs", tensor) : await opAsync("abs", tensor);
  try {
    const largest = small ? op("max", magnitudes) : await opAsync("max", magnitudes);
    try {
      const [value] = small ? largest.dataSync() : await largest.data();
      return Number.isFinite(Number(value));
    } finally {
      largest.dispose();
    }
  } finally {
    magnitudes.dispose();
  }
}
