import { crc32 } from "node:zlib";

const SIGNATURE = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);

/** Length, type and CRC: what a chunk has beside its data. */
const CHUNK_OVERHEAD = 12;

/** A text that a PNG carries, in an iTXt chunk: UTF-8, not compressed. */
export interface PngText {
  /** 1 to 79 Latin-1 characters. */
  readonly keyword: string;
  readonly text: string;
}

/**
 * Put texts into a PNG, right after its header.
 * @param png a whole file
 * @returns the file with the texts; its pixels are the same bytes
 * @see https://www.w3.org/TR/png-3/#11iTXt
 */
export function addPngTexts(png: Uint8Array, texts: readonly PngText[]): Buffer {
  const end = SIGNATURE.length + CHUNK_OVERHEAD + 13;
  return Buffer.concat([
    png.subarray(0, end),
    ...texts.map(({ keyword, text }) => {
      // After the keyword: not compressed, method 0, no language, no translated keyword.
      const data = [Buffer.from(keyword, "latin1"), Buffer.alloc(5), Buffer.from(text, "utf8")];
      return makeChunk("iTXt", Buffer.concat(data));
    }),
    png.subarray(end),
  ]);
}

function makeChunk(type: string, data: Buffer): Buffer {
  const chunk = Buffer.alloc(CHUNK_OVERHEAD + data.length);
  chunk.writeUInt32BE(data.length, 0);
  chunk.write(type, 4, "latin1");
  data.copy(chunk, 8);
  chunk.writeUInt32BE(crc32(chunk.subarray(4, 8 + data.length)), 8 + data.length);
  return chunk;
}

/**
 * Read a text of a PNG.
 * @param png a file's bytes, from anywhere
 * @returns the text of the first iTXt or tEXt chunk of the keyword whose CRC is right; undefined where there is none, or no PNG
 */
export function readPngText(png: Buffer, keyword: string): string | undefined {
  if (!png.subarray(0, SIGNATURE.length).equals(SIGNATURE)) return undefined;
  for (let at = SIGNATURE.length; at + CHUNK_OVERHEAD <= png.length;) {
    const end = at + CHUNK_OVERHEAD + png.readUInt32BE(at);
    if (end > png.length) return undefined;
    const type = png.toString("latin1", at + 4, at + 8);
    const isText = type === "iTXt" || type === "tEXt";
    if (isText && crc32(png.subarray(at + 4, end - 4)) === png.readUInt32BE(end - 4)) {
      const text = textOf(type, png.subarray(at + 8, end - 4), keyword);
      if (text !== undefined) return text;
    }
    at = end;
  }
  return undefined;
}

function textOf(type: "iTXt" | "tEXt", data: Buffer, keyword: string): string | undefined {
  const nameEnd = data.indexOf(0);
  if (nameEnd < 0 || data.toString("latin1", 0, nameEnd) !== keyword) return undefined;
  if (type === "tEXt") return data.toString("latin1", nameEnd + 1);
  const isCompressed = data[nameEnd + 1] !== 0;
  const languageEnd = data.indexOf(0, nameEnd + 3);
  const translatedEnd = languageEnd < 0 ? -1 : data.indexOf(0, languageEnd + 1);
  return isCompressed || translatedEnd < 0 ? undefined : data.toString("utf8", translatedEnd + 1);
}
