import { rowsOf } from "../statistics.mjs";

/** Rounds that are not measured: what settles only after a call or two has settled. */
const WARM_ROUNDS = 2;

/**
 * Time UNet steps and decodes, the participants of a group taking turns: each round is one step (or decode) of each.
 * Before that everyone's networks are compared with eager diffusers'.
 * @param {readonly import("../participants.mjs").Participant[][]} groups
 * @returns {Promise<import("../statistics.mjs").Row[]>}
 */
export async function runSteps(groups, { rounds, decodes }, note) {
  const times = { first: [], step: [], decode: [] };
  for (const group of groups) {
    const workers = {};
    try {
      for (const { name, open, request } of group) {
        note(`loading ${name}`);
        workers[name] = open();
        await workers[name].ask("start", request);
        await workers[name].ask("begin", { steps: 1 + WARM_ROUNDS + rounds, seed: 0 });
      }
      times.first.push(await round(workers, "step", note));
      for (const [name, worker] of Object.entries(workers)) {
        note(`checking ${name}`);
        await worker.ask("check");
      }
      times.step.push(...(await repeat(workers, "step", rounds, note)));
      times.decode.push(...(await repeat(workers, "decode", decodes, note)));
    } finally {
      await Promise.all(Object.values(workers).map((worker) => worker.close()));
    }
  }
  const taking = [...new Set(groups.flat())];
  const [steps, decoded] = [
    rowsOf("UNet step", "ms", taking, times.step),
    rowsOf("decode", "ms", taking, times.decode),
  ];
  return [...steps, ...decoded, ...weighted(steps, decoded), ...rowsOf("first step", "ms", taking, times.first)];
}

async function repeat(workers, what, count, note) {
  for (let i = 0; i < WARM_ROUNDS; i++) await round(workers, what, note);
  const times = [];
  for (let i = 0; i < count; i++)
    times.push(await round(workers, what, (doing) => note(`${doing}, ${i + 1} of ${count}`)));
  return times;
}

/** @returns {Promise<Record<string, number>>} milliseconds of each, one after another */
async function round(workers, what, note) {
  const times = {};
  for (const [name, worker] of Object.entries(workers)) {
    note(`${what}, ${name}`);
    times[name] = 1000 * (await worker.ask(what)).seconds;
  }
  return times;
}

/** A picture of 50 steps, computed from the medians, and its ratios from theirs. */
function weighted(steps, decoded) {
  const whole = steps.map((step, i) => ({ step, decode: decoded[i], value: 50 * step.value + decoded[i].value }));
  return whole.map(({ step, decode, value }) => {
    // What the other would take, from what was measured beside it.
    const against = (key) =>
      step[key] === undefined ? undefined : value / ((50 * step.value) / step[key] + decode.value / decode[key]);
    return { ...step, measurement: "50 steps + decode", value, ratio: against("ratio"), toOurs: against("toOurs") };
  });
}
