import { OURS } from "../participants.mjs";
import { rowsOf } from "../statistics.mjs";

/**
 * Time what only Node has: a step while JavaScript keeps the event loop busy, against one beside an idle one, in turn; how late the event
 * loop gets to its timers while a picture is generated; and what of that picture's time is outside the two networks.
 * @param {readonly import("../participants.mjs").Participant[]} taking
 * @returns {Promise<import("../statistics.mjs").Row[]>}
 */
export async function runEventLoop(taking, { rounds, longSteps }, note) {
  const ours = taking.filter(({ name }) => name === OURS);
  const worker = ours[0].open();
  try {
    await worker.ask("start", ours[0].request);
    await worker.ask("begin", { steps: 2 * rounds + 2, seed: 0 });
    for (let i = 0; i < 2; i++) await worker.ask("step");
    const slower = [];
    for (let i = 0; i < rounds; i++) {
      note(`a busy event loop, ${i + 1} of ${rounds}`);
      const idle = await worker.ask("step");
      const busy = await worker.ask("step", { busy: true });
      slower.push({ [OURS]: busy.seconds / idle.seconds });
    }
    note(`a picture of ${longSteps} steps`);
    const { seconds, networks, delay } = await worker.ask("generate", { steps: longSteps, seed: 0, watched: true });
    return [
      ...rowsOf("a step beside a busy event loop, to an idle one", "x", ours, slower),
      ...rowsOf("event-loop delay while generating, 99th percentile", "ms", ours, [{ [OURS]: delay }]),
      ...rowsOf(`time outside the networks, ${longSteps} steps`, "%", ours, [
        { [OURS]: 100 * (1 - networks / seconds) },
      ]),
    ];
  } finally {
    await worker.close();
  }
}
