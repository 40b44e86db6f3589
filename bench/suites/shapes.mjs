import { rowsOf } from "../statistics.mjs";

/** What a first call takes beyond later ones: of this many, the median. */
const LATER = 3;

/**
 * Time what a shape that has not been seen costs: the first call less the median of later ones. Those who were exported for one
 * shape can no others, and have no row.
 * @param {readonly import("../participants.mjs").Participant[]} taking
 * @returns {Promise<import("../statistics.mjs").Row[]>}
 */
export async function runShapes(taking, options, note) {
  const rounds = { "warm-up, batch of 2": {}, "warm-up, half the size": {}, "warm-up, decode of half the size": {} };
  for (const { name, open, request, needs } of taking) {
    if (needs) continue;
    const worker = open();
    try {
      note(name);
      await worker.ask("start", request);
      await worker.ask("begin", { steps: 2, seed: 0 });
      for (const what of ["step", "step", "decode", "decode"]) await worker.ask(what);
      for (const [measurement, call] of Object.entries(CALLS)) {
        note(`${measurement}, ${name}`);
        const { first, later } = await worker.ask("shape", { ...call, later: LATER });
        // Noise may make it a little less than nothing.
        rounds[measurement][name] = Math.max(0, 1000 * (first - later));
      }
    } finally {
      await worker.close();
    }
  }
  return Object.entries(rounds).flatMap(([measurement, round]) => rowsOf(measurement, "ms", taking, [round]));
}

/** `halves`: of the side of the latents; a whole multiple of 8 must be left. */
const CALLS = {
  "warm-up, batch of 2": { what: "step", batch: 2, halves: 2 },
  "warm-up, half the size": { what: "step", batch: 1, halves: 1 },
  "warm-up, decode of half the size": { what: "decode", batch: 1, halves: 1 },
};
