/**
 * Draw 32-bit numbers, the same for the same seed, so that a failure of a fuzzing test can be repeated.
 * @param seed any whole number but 0
 * @see Marsaglia, "Xorshift RNGs"
 */
export function* xorshift(seed: number): Generator<number, never> {
  let state = seed;
  for (;;) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    yield state >>> 0;
  }
}
