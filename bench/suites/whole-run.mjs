import { rowsOf } from "../statistics.mjs";

/**
 * Load and generate one picture in fresh processes, in turn: time to load, and the process's peak resident memory.
 * @param {readonly import("../participants.mjs").Participant[]} taking
 * @returns {Promise<import("../statistics.mjs").Row[]>}
 */
export async function runWhole(taking, { trials, rivalTrials, wholeSteps }, note) {
  const picture = `load and a picture of ${wholeSteps} steps`;
  const measured = { load: [], [picture]: [], "peak memory": [] };
  for (let trial = 0; trial < trials; trial++) {
    const round = { load: {}, [picture]: {}, "peak memory": {} };
    for (const { name, always, open, request } of taking) {
      if (!always && trial >= rivalTrials) continue;
      note(`whole run ${trial + 1} of ${trials}, ${name}`);
      const worker = open({ cold: true });
      try {
        const { load } = await worker.ask("start", request);
        const { seconds } = await worker.ask("generate", { steps: wholeSteps, seed: 0 });
        const { peak } = await worker.ask("memory");
        round.load[name] = 1000 * load;
        round[picture][name] = 1000 * (load + seconds);
        round["peak memory"][name] = peak;
      } finally {
        await worker.close();
      }
    }
    for (const [what, values] of Object.entries(round)) measured[what].push(values);
  }
  return Object.entries(measured).flatMap(([what, rounds]) =>
    rowsOf(what, what === "peak memory" ? "MiB" : "ms", taking, rounds),
  );
}
