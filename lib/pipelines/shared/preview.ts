import { Image } from "../../image/image.js";
import type { Tensor } from "../../torch/tensor.js";

/** So many standard deviations from the mean are shown; the rest is clipped. */
const SHOWN_DEVIATIONS = 2.5;

/**
 * Picture latents themselves: the first three channels as red, green and blue, or the first as grey, each image stretched to its
 * own range. It shows what is where; the decoder alone knows the colours.
 * @param latents floating `[batch, channels, height, width]`
 */
export async function previewLatents(latents: Tensor): Promise<Image[]> {
  const [batch = 0, channels = 0, height = 0, width = 0] = latents.shape;
  const values = (await latents.data()) as Float32Array | Float64Array;
  const plane = height * width;
  const shown = channels >= 3 ? 3 : 1;
  return Array.from({ length: batch }, (_, i) => {
    const own = values.subarray(i * channels * plane, i * channels * plane + shown * plane);
    const toByte = stretch(own);
    const data = new Uint8ClampedArray(shown * plane);
    for (let channel = 0; channel < shown; channel++) {
      for (let at = 0; at < plane; at++) data[at * shown + channel] = toByte(own[channel * plane + at] ?? 0);
    }
    return Image.from(data, { width, height, channels: shown });
  });
}

/** A map that takes the values' mean to mid-grey. */
function stretch(values: Float32Array | Float64Array): (value: number) => number {
  let sum = 0;
  let squares = 0;
  for (const value of values) {
    sum += value;
    squares += value * value;
  }
  const mean = sum / values.length;
  const deviation = Math.sqrt(Math.max(0, squares / values.length - mean * mean));
  const scale = deviation > 0 ? 127.5 / (SHOWN_DEVIATIONS * deviation) : 0;
  return (value) => 127.5 + (value - mean) * scale;
}
