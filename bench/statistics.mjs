import { DIFFUSERS, OURS } from "./participants.mjs";

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
 * One participant's row of one measurement.
 * @typedef {object} Row
 * @property {string} measurement
 * @property {string} name
 * @property {boolean} rival
 * @property {"ms" | "MiB" | "%" | "x"} unit
 * @property {number} value the median
 * @property {number} samples
 * @property {number} [ratio] to diffusers: the median of both's ratio in one round; below 1 is faster, or smaller
 * @property {number} [toOurs] the same to this package as it comes
 * @property {string} date
 */

/**
 * Make rows of rounds. Within a round the participants take turns, so ratios are of what was measured side by side.
 * @param {string} measurement
 * @param {string} unit
 * @param {readonly import("./participants.mjs").Participant[]} taking
 * @param {readonly Record<string, number>[]} rounds values by name; not everyone is in each
 * @returns {Row[]} of those who are in any
 */
export function rowsOf(measurement, unit, taking, rounds) {
  return taking.flatMap(({ name, rival }) => {
    const own = rounds.filter((round) => name in round);
    if (own.length === 0) return [];
    const against = (other) => {
      const both = own.filter((round) => other in round);
      return both.length === 0 ? undefined : median(both.map((round) => round[name] / round[other]));
    };
    return [
      {
        measurement,
        name,
        rival,
        unit,
        value: median(own.map((round) => round[name])),
        samples: own.length,
        ratio: against(DIFFUSERS),
        toOurs: against(OURS),
        date: new Date().toISOString().slice(0, 10),
      },
    ];
  });
}
