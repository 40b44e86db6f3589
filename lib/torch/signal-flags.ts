import type { FlagHandle } from "../native/contract.js";
import { native } from "../native/open.js";

/** One flag for each signal: whoever shares a signal is one caller, and callers take turns. */
const FLAGS = new WeakMap<AbortSignal, FlagHandle>();

/** The flag by which the executor sees that a signal aborted. */
export function flagOf(signal: AbortSignal): FlagHandle {
  const known = FLAGS.get(signal);
  if (known) return known;
  const flag = native().flagCreate();
  FLAGS.set(signal, flag);
  return flag;
}
