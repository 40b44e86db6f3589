/**
 * @param {readonly number[]} values at least one
 * @returns {number}
 */
export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/**
 * The paired median: of each round's ratio of one participant to the first.
 * @param {readonly (readonly number[])[]} rounds one value a participant
 * @param {number} index
 * @returns {number}
 */
export function ratioToFirst(rounds, index) {
  return median(rounds.map((round) => round[index] / round[0]));
}
