import type { ByteSource } from "../../lib/files/safetensors-header.js";

/** A file that is bytes in memory. */
export function sourceOf(bytes: Uint8Array): ByteSource {
  return {
    size: bytes.length,
    // As the addon does, which refuses what is not within the file.
    read: (offset, length) => {
      if (offset < 0 || length < 0 || offset + length > bytes.length)
        return Promise.reject(new RangeError(`a read of ${length} bytes at ${offset} of ${bytes.length}`));
      return Promise.resolve(Uint8Array.from(bytes.subarray(offset, offset + length)));
    },
  };
}
