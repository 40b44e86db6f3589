import { existsSync, readFileSync } from "node:fs";
import { runCommand } from "../scripts/setup/command.mjs";
import { inProject } from "../scripts/setup/paths.mjs";
import { peersFolder } from "../scripts/setup/peers.mjs";

const PARTS = ["unet", "vqvae"];

/**
 * Let diffusers write the network that is measured, unless it is there.
 * @param {(doing: string) => void} say
 */
export async function ensureModel(say, { model, quick }, { python }) {
  if (!existsSync(`${model}/model_index.json`)) {
    say("letting diffusers write a model with random weights");
    const command = [python, inProject("bench/make_full_size.py"), "--out", model, ...(quick ? ["--tiny"] : [])];
    await runCommand(command, { log: "bench-model", advice: "It needs 1.3 GB under .local/bench." });
  }
  // Read once, so that nobody's time to load pays for a cold disk.
  for (const file of weightFiles(model)) readFileSync(file);
  return { result: quick ? "a tiny network: the figures mean nothing" : "the full-size network, random weights" };
}

/**
 * Let Python write what everyone's networks are checked against, and the exports that some run, unless they are there.
 * @param {(doing: string) => void} say
 * @param {readonly import("./participants.mjs").Participant[]} taking
 */
export async function ensureExports(say, { model }, { python }, taking) {
  const kinds = ["expected", ...taking.flatMap(({ needs }) => needs ?? [])];
  const env = { ...process.env, PYTHONPATH: peersFolder, HF_HUB_OFFLINE: "1" };
  for (const kind of kinds.filter((name) => !existsSync(`${model}/exports/${name}`))) {
    say(`writing what is ${kind === "expected" ? "expected of everyone" : `run by ${kind}`}`);
    const command = [python, inProject("bench/export_networks.py"), "--model", model, "--for", kind];
    await runCommand(command, {
      log: `bench-${kind}`,
      env,
      advice: "It needs up to 1.3 GB under .local/bench for each.",
    });
  }
  return { result: kinds.join(", ") };
}

/** @returns {number} bytes of the networks' weights in float32 */
export function weightBytes(model) {
  return weightFiles(model).reduce((sum, file) => sum + readFileSync(file).length, 0);
}

function weightFiles(model) {
  return PARTS.map((part) => `${model}/${part}/diffusion_pytorch_model.safetensors`);
}
