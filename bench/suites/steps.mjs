import { median, ratioToFirst } from "../statistics.mjs";

/**
 * Time UNet steps and decodes, the participants taking turns: each round is one step (or decode) of each, and a ratio is the
 * median over rounds of this participant's time by the peer's in the same round.
 * @returns {Promise<object[]>} one row a participant and measurement
 */
export async function runSteps(participants, { model, threads, rounds, decodes, dtype }, note) {
  const workers = participants.map(({ open }) => open());
  try {
    for (const [i, worker] of workers.entries()) {
      note(`loading, ${participants[i].name}`);
      await worker.ask("start", { model, threads, optimize: participants[i].optimize, dtype });
      await worker.ask("begin", { steps: rounds + 1, seed: 0 });
    }
    const first = await round(workers, "step");
    const steps = await repeat(rounds, workers, "step", note);
    await round(workers, "decode");
    const decoded = await repeat(decodes, workers, "decode", note);
    return [...rows("UNet step", participants, steps), ...rows("decode", participants, decoded), ...rows("first step", participants, [first])];
  } finally {
    await Promise.all(workers.map((worker) => worker.close()));
  }
}

async function repeat(count, workers, what, note) {
  const times = [];
  for (let i = 0; i < count; i++) {
    note(`${what} ${i + 1} of ${count}`);
    times.push(await round(workers, what));
  }
  return times;
}

/** @returns {Promise<number[]>} seconds of each, one after another */
async function round(workers, what) {
  const seconds = [];
  for (const worker of workers) seconds.push((await worker.ask(what)).seconds);
  return seconds;
}

function rows(measurement, participants, times) {
  return participants.map(({ name }, i) => ({
    measurement, name, unit: "ms", value: 1000 * median(times.map((round) => round[i])), ratio: ratioToFirst(times, i), samples: times.length,
  }));
}
