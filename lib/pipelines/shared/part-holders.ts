import type { LDMComponents } from "./pipeline-parts.js";

interface Disposable {
  dispose(): void;
}

/** How many pipelines that are not disposed hold each network. */
const holders = new WeakMap<Disposable, number>();

/** Note that one pipeline more holds these parts. */
export function holdParts({ unet, vqvae }: LDMComponents): void {
  for (const part of [unet, vqvae]) holders.set(part, (holders.get(part) ?? 0) + 1);
}

/** Note that one pipeline less holds these parts, and free those that none holds any more. */
export function releaseParts({ unet, vqvae }: LDMComponents): void {
  for (const part of [unet, vqvae]) {
    const left = (holders.get(part) ?? 1) - 1;
    holders.set(part, left);
    if (left === 0) part.dispose();
  }
}
