import { crc32 } from "node:zlib";
import sharp from "sharp";
import t from "tap";
import { addPngTexts, readPngText } from "../../lib/cli/png-text.js";

const PIXELS = Buffer.from(Array.from({ length: 5 * 4 * 3 }, (_, i) => (i * 37) % 256));
const plain = () =>
  sharp(PIXELS, { raw: { width: 5, height: 4, channels: 3 } })
    .png()
    .toBuffer();

interface Chunk {
  readonly type: string;
  readonly isWhole: boolean;
}

function chunksOf(png: Buffer): Chunk[] {
  const chunks: Chunk[] = [];
  for (let at = 8; at < png.length;) {
    const length = png.readUInt32BE(at);
    const body = png.subarray(at + 4, at + 8 + length);
    const isWhole = crc32(body) === png.readUInt32BE(at + 8 + length);
    chunks.push({ type: body.toString("latin1", 0, 4), isWhole });
    at += 12 + length;
  }
  return chunks;
}

t.test("texts go in and come out, and the pixels stay", async (t) => {
  const texts = [
    { keyword: "latent-diffusion", text: '{"model":"Gesichter für 日本 🙂"}' },
    { keyword: "Software", text: "x" },
  ];
  const png = addPngTexts(await plain(), texts);
  for (const { keyword, text } of texts) t.equal(readPngText(png, keyword), text);
  t.equal(readPngText(png, "Author"), undefined);
  const chunks = chunksOf(png);
  t.strictSame(
    chunks.slice(0, 3).map(({ type }) => type),
    ["IHDR", "iTXt", "iTXt"],
  );
  t.ok(
    chunks.every(({ isWhole }) => isWhole),
    "every CRC is right",
  );
  t.ok((await sharp(png).raw().toBuffer()).equals(PIXELS));
  const { comments } = await sharp(png).metadata();
  t.strictSame(comments, texts, "libspng reads them too");
});

t.test("a damaged file has no text, and nothing is thrown", async (t) => {
  const png = addPngTexts(await plain(), [{ keyword: "k", text: "value" }]);
  const damaged = Buffer.from(png);
  const at = damaged.indexOf("value");
  damaged[at] = 0x20;
  t.equal(readPngText(damaged, "k"), undefined, "a wrong CRC");
  for (let length = 0; length < at + 5; length++) t.equal(readPngText(png.subarray(0, length), "k"), undefined);
  const long = Buffer.from(png);
  long.writeUInt32BE(0xffffffff, 8);
  t.equal(readPngText(long, "k"), undefined, "a chunk longer than the file");
  t.equal(readPngText(Buffer.from("not a PNG, nor anything like it"), "k"), undefined);
});
