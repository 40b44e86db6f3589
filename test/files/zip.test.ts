import { readFileSync } from "node:fs";
import { join } from "node:path";
import { deflateRawSync } from "node:zlib";
import t from "tap";
import { ZipArchive, type ZipRecord } from "../../lib/files/zip.js";
import { sourceOf } from "../support/byte-source.js";
import { writeZip, type ZipEntry } from "../support/zip-writer.js";

const open = (entries: readonly ZipEntry[], options?: Parameters<typeof writeZip>[1]): Promise<ZipArchive> =>
  ZipArchive.open(sourceOf(writeZip(entries, options)), "x.zip");

const A: ZipEntry = { name: "a", data: Buffer.from("alpha") };
const B: ZipEntry = { name: "b/c", data: Buffer.from("beta") };

async function textOf(archive: ZipArchive, name: string): Promise<string> {
  const record = archive.records.get(name);
  return record ? Buffer.from(await archive.read(record, 1000)).toString() : "missing";
}

t.test("stored and deflated records, with and without zip64, descriptors, padding and a comment", async (t) => {
  const deflated: ZipEntry = {
    name: "deflated",
    data: deflateRawSync("gamma ".repeat(20)),
    fields: { method: 8, size: 120 },
  };
  for (const options of [{}, { zip64: true }, { comment: "PK\x05\x06 a comment" }]) {
    const archive = await open([A, { ...B, padding: 37 }, deflated], options);
    t.strictSame([...archive.records.keys()], ["a", "b/c", "deflated"]);
    t.equal(await textOf(archive, "a"), "alpha");
    t.equal(await textOf(archive, "b/c"), "beta");
    t.equal(await textOf(archive, "deflated"), "gamma ".repeat(20));
  }
  t.equal((await open([])).records.size, 0);
  const sizes = await open([{ ...A, localFields: { size: 0, storedSize: 0 }, fields: { flags: 8 } }]);
  t.equal(await textOf(sizes, "a"), "alpha", "sizes in a descriptor behind the data");
});

t.test("what PyTorch wrote", async (t) => {
  const path = join(__dirname, "..", "fixtures", "torch-save", "zip.bin");
  const archive = await ZipArchive.open(sourceOf(readFileSync(path)), path);
  t.equal(await textOf(archive, "zip/byteorder"), "little");
  t.ok([...archive.records.values()].every(({ offset, name }) => !name.includes("/data/") || offset % 64 === 0));
});

t.test("what does not agree with itself is refused, with the record and the place", async (t) => {
  const cases: [what: string, archive: Promise<ZipArchive>, message: RegExp][] = [
    ["twice", open([A, A]), /x\.zip: the record "a" is there twice/],
    ["encrypted", open([{ ...A, fields: { flags: 1 } }]), /record "a": it is encrypted/],
    ["method", open([{ ...A, fields: { method: 12 } }]), /compressed by method 12/],
    ["sizes", open([{ ...A, fields: { size: 6 } }]), /stored as it is, but of 6 bytes in 5/],
    ["beyond", open([{ ...A, fields: { size: 500, storedSize: 500 } }]), /its 500 bytes at 31 overlap the directory/],
    [
      "local size",
      open([{ ...A, localFields: { size: 4 } }]),
      /4 bytes are in its local header and 5 in the directory/,
    ],
    ["local name", open([{ ...A, localName: "z" }]), /another name, "z", is in its local header at 0/],
    ["local method", open([{ ...A, localFields: { method: 8 } }]), /another method is in its local header/],
    ["one place", open([A, { ...A, name: "z", fields: { offset: 0 } }]), /record "a": .*overlaps the record "z" at 0/],
    ["no header", open([{ ...A, fields: { offset: 3 } }]), /it has no local header at 3/],
    ["far header", open([{ ...A, fields: { offset: 5000 } }]), /its local header at 5000 overlaps the directory at/],
    ["count", open([A], { count: 2 }), /the directory holds fewer than 2/],
    ["count too low", open([A, B], { count: 1 }), /49 bytes of the directory belong to no record/],
    ["many", open([A], { count: 70_000, zip64: true }), /70000 records, above the bound of 65536/],
    ["directory", open([A], { directoryOffset: 10_000 }), /is said to be at 10000, but the end record is at/],
    ["disks", open([A], { disk: 1 }), /several disks/],
    ["bytes behind", open([A], { tail: Buffer.from("x") }), /no end of a zip archive/],
  ];
  for (const [what, archive, message] of cases)
    await t.rejects(archive, { code: "ERR_CHECKPOINT_INVALID", message }, what);
});

t.test("a record is read up to a bound, and unpacked to its size and no further", async (t) => {
  const bomb = deflateRawSync(Buffer.alloc(1_000_000));
  const archive = await open([A, { name: "bomb", data: bomb, fields: { method: 8, size: 1000 } }]);
  const reading = (name: string, limit: number): Promise<Uint8Array> =>
    archive.read(archive.records.get(name) as ZipRecord, limit);
  await t.rejects(reading("a", 4), { code: "ERR_CHECKPOINT_INVALID", message: /"a": 5 bytes, above the bound of 4/ });
  await t.rejects(reading("bomb", 2000), {
    code: "ERR_CHECKPOINT_INVALID",
    message: /compressed bytes do not give the 1000 that are announced/,
  });
});
