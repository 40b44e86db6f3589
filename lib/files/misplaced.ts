import { LatentDiffusionError } from "../errors.js";

/** So many bytes tell what a file is. */
export const HEAD_BYTES = 512;

const ADVICE =
  "get the file itself, for example with `latent-diffusion download <repository>` or `hf download <repository>`";

/**
 * Refuse what is often found in the place of a checkpoint's file: nothing, a Git LFS pointer, an HTML page.
 * @param head the first bytes of the file, {@link HEAD_BYTES} or all
 * @throws LatentDiffusionError `ERR_CHECKPOINT_INVALID` saying what it is and how to get the file
 */
export function refuseMisplaced(head: Uint8Array, path: string): void {
  const what = describeMisplaced(head);
  if (what !== undefined) throw new LatentDiffusionError("ERR_CHECKPOINT_INVALID", `${path}: ${what}`);
}

function describeMisplaced(head: Uint8Array): string | undefined {
  if (head.length === 0) return `the file is empty, as a download leaves it that was broken off; ${ADVICE}`;
  const text = Buffer.from(head.buffer, head.byteOffset, Math.min(head.length, HEAD_BYTES)).toString("latin1");
  if (text.startsWith("version https://git-lfs.github.com/spec/")) {
    const size = /^size ([0-9]{1,15})$/m.exec(text)?.[1];
    const held = size === undefined ? "" : ` of ${size} bytes`;
    return `a Git LFS pointer to a file${held}, not the file; run \`git lfs pull\` in its repository, or ${ADVICE}`;
  }
  // A byte order mark may stand in front.
  if (/^(?:\u00ef\u00bb\u00bf)?\s*<(?:!doctype\s+html|html|head|body|\?xml)\b/i.test(text))
    return `an HTML page, as a server sends it for a login or an error, not the file; ${ADVICE}`;
  return undefined;
}
