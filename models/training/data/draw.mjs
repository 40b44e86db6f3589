/**
 * Draws avatar faces as raw RGB pictures, reproducibly from their numbers.
 *
 *   node draw.mjs --out FOLDER --count 42000 [--size 64] [--shard 1000]
 *
 * Picture n depends on nothing but n, so the work is cut into shards: `shard-0003.bin` holds pictures 3000 to
 * 3999 as uint8 [shard, size, size, 3]. A finished shard is never drawn again, which makes the run resumable.
 */
import { existsSync, mkdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { createAvatar } from "@dicebear/core";
import * as toonHead from "@dicebear/toon-head";
import sharp from "sharp";

/** Flat pastel backgrounds: far enough from every skin and hair colour that the outline stays visible. */
const BACKGROUNDS = ["b6e3f4", "ffd5dc", "d1d4f9", "c0aede", "c8e6c9", "ffe0b2", "f5f5f5", "b2dfdb"];

/** Zoom until the head fills the picture; beards rarer than the style's half, or they would cover most mouths. */
const STYLE = { scale: 125, translateY: 2, beardProbability: 25, backgroundColor: BACKGROUNDS };

/** Pictures in flight at once: enough to keep libuv's pool busy, few enough to stay small. */
const IN_FLIGHT = 8;

const { values } = parseArgs({
  options: {
    out: { type: "string" },
    count: { type: "string", default: "42000" },
    size: { type: "string", default: "64" },
    shard: { type: "string", default: "1000" },
  },
});
const out = values.out ?? "faces";
const [count, size, shard] = [Number(values.count), Number(values.size), Number(values.shard)];

/**
 * Draw one face at twice the size, so that halving it smooths thin lines.
 * @param {number} number the picture's number, its only source of chance
 * @returns {Promise<Buffer>} uint8 [size, size, 3]
 */
async function drawFace(number) {
  const avatar = createAvatar(toonHead, { seed: `latent-diffusion-${number}`, size: 2 * size, ...STYLE });
  return sharp(Buffer.from(avatar.toString()))
    .resize(size, size)
    .flatten({ background: "#ffffff" })
    .toColourspace("srgb")
    .raw()
    .toBuffer();
}

/** Draw pictures [start, start + length) in order. */
async function drawShard(start, length) {
  const pictures = new Array(length);
  let next = 0;
  const worker = async () => {
    for (let i = next++; i < length; i = next++) pictures[i] = await drawFace(start + i);
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, worker));
  return Buffer.concat(pictures);
}

mkdirSync(out, { recursive: true });
sharp.concurrency(1);
for (let start = 0; start < count; start += shard) {
  const path = join(out, `shard-${String(start / shard).padStart(4, "0")}.bin`);
  if (existsSync(path)) continue;
  writeFileSync(`${path}.part`, await drawShard(start, Math.min(shard, count - start)));
  renameSync(`${path}.part`, path); // a shard that has its name is whole
  console.log(`drawn ${Math.min(start + shard, count)} of ${count}`);
}
