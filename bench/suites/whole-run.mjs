import { median, ratioToFirst } from "../statistics.mjs";

/**
 * Load and generate one picture in fresh processes, in turn: time to load, and the process's peak resident memory.
 * @returns {Promise<object[]>} one row a participant and measurement
 */
export async function runWhole(participants, { model, threads, trials, wholeSteps, dtype }, note) {
  const measured = { load: [], "load and first picture": [], "peak memory": [] };
  for (let trial = 0; trial < trials; trial++) {
    const round = [];
    for (const { name, open, optimize } of participants) {
      note(`whole run ${trial + 1} of ${trials}, ${name}`);
      const worker = open();
      try {
        const { load } = await worker.ask("start", { model, threads, optimize, dtype });
        const { seconds } = await worker.ask("generate", { steps: wholeSteps, seed: 0 });
        const { peak } = await worker.ask("memory");
        round.push({ load: 1000 * load, "load and first picture": 1000 * (load + seconds), "peak memory": peak });
      } finally {
        await worker.close();
      }
    }
    for (const [what, values] of Object.entries(measured)) values.push(round.map((entry) => entry[what]));
  }
  return Object.entries(measured).flatMap(([measurement, rounds]) => participants.map(({ name }, i) => ({
    measurement: measurement === "load and first picture" ? `load and a picture of ${wholeSteps} steps` : measurement,
    name, unit: measurement === "peak memory" ? "MiB" : "ms", value: median(rounds.map((round) => round[i])), ratio: ratioToFirst(rounds, i), samples: trials,
  })));
}
