import t from "tap";
import { LatentDiffusionError } from "../../lib/errors.js";
import { type ByteSource, type Header, readHeader } from "../../lib/files/safetensors-header.js";
import { xorshift } from "../support/xorshift.js";

const F = "weights.safetensors";

function source(bytes: Uint8Array): ByteSource {
  return { size: bytes.length, read: (offset, length) => Promise.resolve(bytes.subarray(offset, offset + length)) };
}

/** A file with this header text, right length in front, and this many bytes of tensors behind. */
function file(header: string | Uint8Array, dataBytes = 0, length?: bigint): Uint8Array {
  const json = Buffer.from(header as string);
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(length ?? BigInt(json.length));
  return Buffer.concat([prefix, json, Buffer.alloc(dataBytes)]);
}

function read(bytes: Uint8Array): Promise<Header> {
  return readHeader(source(bytes), F);
}

function entry(dtype: unknown, shape: unknown, offsets: unknown): string {
  return JSON.stringify({ dtype, shape, data_offsets: offsets });
}

const ONE = entry("F32", [2], [0, 8]);

t.test("a header is read in the order of the bytes, with offsets from the file's start", async (t) => {
  const header = `{"b":${entry("BF16", [2, 3], [8, 20])},"__metadata__":{"format":"pt"},"a":${ONE},"empty":${entry("U8", [0, 7], [20, 20])}}  `;
  const { tensors, metadata } = await read(file(header, 20));
  const start = 8 + header.length;
  t.strictSame(
    [...tensors],
    [
      ["a", { dtype: "float32", shape: [2], offset: start }],
      ["b", { dtype: "bfloat16", shape: [2, 3], offset: start + 8 }],
      ["empty", { dtype: "uint8", shape: [0, 7], offset: start + 20 }],
    ],
  );
  t.strictSame(metadata, { format: "pt" });
});

t.test("all ten dtypes are known, and scalars have the empty shape", async (t) => {
  const dtypes: [string, string, number][] = [
    ["F64", "float64", 8],
    ["F32", "float32", 4],
    ["F16", "float16", 2],
    ["BF16", "bfloat16", 2],
    ["I64", "int64", 8],
    ["I32", "int32", 4],
    ["I16", "int16", 2],
    ["I8", "int8", 1],
    ["U8", "uint8", 1],
    ["BOOL", "bool", 1],
  ];
  for (const [stored, dtype, bytes] of dtypes) {
    const { tensors } = await read(file(`{"x":${entry(stored, [], [0, bytes])}}`, bytes));
    t.strictSame([tensors.get("x")?.dtype, tensors.get("x")?.shape], [dtype, []], stored);
  }
});

t.test("metadata that is null is none, as to Python's reader", async (t) => {
  t.strictSame((await read(file(`{"__metadata__":null,"x":${ONE}}`, 8))).metadata, {});
});

t.test("a header of many megabytes is read, in whatever order, without holding the event loop", async (t) => {
  const count = 200_000;
  const entries = Array.from({ length: count }, (_, i) => `"layer.${i}":${entry("U8", [1], [i, i + 1])}`);
  // The last ones first: sorted runs must be merged.
  const bytes = file(`{${entries.reverse().join(",")}}`, count);
  t.ok(bytes.length > 12_000_000, `${bytes.length} bytes`);
  let turns = 0;
  const timer = setInterval(() => turns++, 1);
  const { tensors } = await read(bytes);
  clearInterval(timer);
  t.strictSame([tensors.size, [...tensors.keys()].slice(0, 2)], [count, ["layer.0", "layer.1"]]);
  t.ok(turns > 10, `the event loop turned ${turns} times`);
});

t.test("a file without tensors is one", async (t) => {
  t.equal((await read(file("{}      "))).tensors.size, 0);
});

t.test("names that are special in JavaScript are names", async (t) => {
  const { tensors, metadata } = await read(
    file(`{"__metadata__":{"__proto__":"x"},"__proto__":${ONE},"constructor":${entry("U8", [1], [8, 9])}}`, 9),
  );
  t.strictSame([...tensors.keys()], ["__proto__", "constructor"]);
  t.strictSame(Object.entries(metadata), [["__proto__", "x"]]);
  t.notOk("dtype" in {}, "no prototype was touched");
});

const REFUSED: [what: string, bytes: Uint8Array, message: RegExp][] = [
  ["an empty file", Buffer.alloc(0), /the file is empty.*hf download/],
  [
    "a Git LFS pointer",
    Buffer.from(`version https://git-lfs.github.com/spec/v1\noid sha256:${"a".repeat(64)}\nsize 1096408000\n`),
    /a Git LFS pointer to a file of 1096408000 bytes, not the file; run `git lfs pull`/,
  ],
  ["an HTML page", Buffer.from("\n<!DOCTYPE html>\n<html><body>Sign in"), /an HTML page.*hf download/],
  ["seven bytes", Buffer.alloc(7), /7 bytes are too few/],
  ["a length beyond the file", file("{}", 0, 3n), /cut short: a header of 3 bytes, but only 2 follow/],
  ["a length beyond the bound", file("{}", 0, 100_000_001n), /100000001 bytes, above the bound of 100000000/],
  ["a length beyond 2^53", file("{}", 0, 2n ** 64n - 1n), /18446744073709551615 bytes, above the bound/],
  ["an empty header", file(""), /does not start with "\{"/],
  ["another kind of file", file(" {}"), /does not start with "\{"/],
  ["a byte order mark", file("\ufeff{}"), /does not start with "\{"/],
  ["bytes that are no UTF-8", file(Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x7d])), /header: not valid UTF-8/],
  [
    "no JSON",
    file("{"),
    /header: not valid JSON at line 1, column 2: expected a key in double quotes but found the end/,
  ],
  ["text behind the object", file("{}x"), /found|after the end/],
  ["NaN", file(`{"x":NaN}`), /NaN is not JSON/],
  ["deep nesting", file('{"a":' + "[".repeat(100_000)), /nested deeper than 64 levels/],
  ["a name twice", file(`{"x":${ONE},"x":${ONE}}`, 8), /"x" appears twice in one object/],
  [
    "a key twice in an entry",
    file(`{"x":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, 8),
    /"dtype" appears twice/,
  ],
  ["a name twice under an escape", file(`{"x":${ONE},"\\u0078":${ONE}}`, 8), /"x" appears twice/],
  ["a lone surrogate", file(`{"\\ud800":${ONE}}`, 8), /half of a surrogate pair/],
  ["metadata that is no object", file(`{"__metadata__":[]}`), /__metadata__ is not an object/],
  ["metadata that is no string", file(`{"__metadata__":{"a":1}}`), /__metadata__ holds "a", which is not a string/],
  ["an entry that is no object", file(`{"x":[]}`), /tensor "x": its entry is not an object/],
  [
    "an entry without a dtype",
    file(`{"x":{"shape":[2],"data_offsets":[0,8]}}`, 8),
    /tensor "x": its entry lacks dtype/,
  ],
  [
    "an entry with one key more",
    file(`{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"stride":1}}`, 8),
    /tensor "x": .*unknown key "stride"/,
  ],
  [
    "an 8-bit float",
    file(`{"x":${entry("F8_E4M3", [8], [0, 8])}}`, 8),
    /tensor "x": Expected one of I64, .* for dtype but received "F8_E4M3"/,
  ],
  ["a dtype that is inherited", file(`{"x":${entry("constructor", [8], [0, 8])}}`, 8), /received "constructor"/],
  ["a dtype that is no string", file(`{"x":${entry(7, [8], [0, 8])}}`, 8), /for dtype but received 7/],
  ["a shape that is no array", file(`{"x":${entry("F32", 2, [0, 8])}}`, 8), /tensor "x": shape is not an array/],
  [
    "a negative size",
    file(`{"x":${entry("F32", [-2], [0, 8])}}`, 8),
    /non-negative integers for shape but received -2/,
  ],
  [
    "a fractional size",
    file(`{"x":${entry("F32", [2.5], [0, 8])}}`, 8),
    /non-negative integers for shape but received 2.5/,
  ],
  [
    "a size in a string",
    file(`{"x":${entry("F32", ["2"], [0, 8])}}`, 8),
    /non-negative integers for shape but received "2"/,
  ],
  [
    "a size beyond 2^53",
    file(`{"x":{"dtype":"F32","shape":[9007199254740993],"data_offsets":[0,8]}}`, 8),
    /integer 9007199254740993 is beyond/,
  ],
  [
    "a product beyond 2^53",
    file(`{"x":${entry("F32", [2 ** 30, 2 ** 30, 0], [0, 0])}}`),
    /beyond what a file can hold/,
  ],
  ["three offsets", file(`{"x":${entry("F32", [2], [0, 8, 8])}}`, 8), /Expected \[begin, end\] for data_offsets/],
  [
    "offsets that run backwards",
    file(`{"x":${entry("F32", [2], [8, 0])}}`, 8),
    /Expected \[begin, end\] for data_offsets but received \[8, 0\]/,
  ],
  [
    "offsets that do not fit the shape",
    file(`{"x":${entry("F32", [3], [0, 8])}}`, 8),
    /\[3\] of F32 takes 12 bytes, but data_offsets \[0, 8\] give 8/,
  ],
  [
    "a hole in front",
    file(`{"x":${entry("U8", [1], [1, 2])}}`, 2),
    /tensor "x": begins at 1 and leaves a hole after the header/,
  ],
  [
    "a hole between",
    file(`{"x":${ONE},"y":${entry("U8", [1], [9, 10])}}`, 10),
    /tensor "y": begins at 9 and leaves a hole after tensor "x"/,
  ],
  [
    "an overlap",
    file(`{"x":${ONE},"y":${entry("U8", [4], [4, 8])}}`, 8),
    /tensor "y": begins at 4 and overlaps tensor "x", which ends at 8/,
  ],
  ["two tensors of one place", file(`{"x":${ONE},"y":${ONE}}`, 8), /tensor "y": begins at 0 and overlaps/],
  ["bytes at the end", file(`{"x":${ONE}}`, 9), /1 bytes at the end belong to no tensor/],
  ["tensors cut short", file(`{"x":${ONE}}`, 7), /cut short: the header describes 8 bytes of tensors, but 7 are there/],
];

t.test("what does not describe the file exactly is refused", async (t) => {
  for (const [what, bytes, message] of REFUSED) {
    await t.rejects(
      read(bytes),
      { code: "ERR_CHECKPOINT_INVALID", message: new RegExp(`^${F}.*(?:${message.source})`) },
      what,
    );
  }
});

t.test("a source that answers with fewer bytes than asked is a file cut short", async (t) => {
  const bytes = file(`{"x":${ONE}}`, 8);
  const short = (keep: number): ByteSource => ({
    size: bytes.length,
    read: (offset, length) => Promise.resolve(bytes.subarray(offset, Math.min(offset + length, keep))),
  });
  for (const keep of [0, 4, 8, 20])
    await t.rejects(readHeader(short(keep), F), { code: "ERR_CHECKPOINT_INVALID", message: /cut short/ });
});

t.test("whatever is done to a file's bytes gives a header that describes it, or the typed error", async (t) => {
  const header = `{"__metadata__":{"format":"pt"},"a.weight":${ONE},"a.bias":${entry("F16", [2, 1], [8, 12])}}   `;
  const original = file(header, 12);
  const random = xorshift(20261123);
  const below = (bound: number): number => random.next().value % bound;
  const tokens = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    '"',
    "\\",
    "-",
    "0",
    "1e400",
    "18446744073709551616",
    "null",
    "true",
    "NaN",
    "\0",
    "\ud83d\ude00",
    '"__proto__":',
    '"shape":[]',
  ];
  const mutations: ((bytes: Buffer) => Buffer)[] = [
    (bytes) => bytes.subarray(0, below(bytes.length + 1)),
    (bytes) => Buffer.concat([bytes, Buffer.alloc(below(9))]),
    (bytes) => {
      bytes[below(Math.max(bytes.length, 1))] = below(256);
      return bytes;
    },
    (bytes) => {
      if (bytes.length >= 8) bytes.writeBigUInt64LE(BigInt(below(300)), 0);
      return bytes;
    },
    (bytes) => {
      const at = Math.min(8 + below(header.length), bytes.length);
      const grown = Buffer.concat([
        bytes.subarray(0, at),
        Buffer.from(tokens[below(tokens.length)] ?? ""),
        bytes.subarray(at + below(4)),
      ]);
      if (grown.length >= 20 && below(2) === 0) grown.writeBigUInt64LE(BigInt(grown.length - 20), 0);
      return grown;
    },
  ];
  let refused = 0;
  for (let round = 0; round < 4000; round++) {
    let bytes: Buffer = Buffer.from(original);
    for (let i = below(3); i >= 0; i--) bytes = Buffer.from((mutations[below(mutations.length)] ?? Buffer.from)(bytes));
    const result = await read(bytes).catch((error: unknown) => error);
    const where = `round ${round}: ${bytes.toString("base64")}`;
    if (result instanceof LatentDiffusionError) {
      refused++;
      if (result.code !== "ERR_CHECKPOINT_INVALID" || !result.message.startsWith(F))
        t.fail(`${where}: ${result.code} ${result.message}`);
    } else if (result instanceof Error) {
      t.fail(`${where}: ${String(result.stack)}`);
    } else {
      const end = [...(result as Header).tensors.values()].at(-1);
      if (end && end.offset > bytes.length) t.fail(`${where}: accepted beyond its end`);
    }
  }
  t.ok(refused > 2000 && refused < 4000, `${refused} of 4000 refused`);
});
