import t from "tap";
import { readPickle, type PickleMeaning } from "../../lib/files/pickle.js";
import { PickleCutShortError } from "../../lib/files/pickle-input.js";
import { PickleGlobal, PickleObject, type PickleValue } from "../../lib/files/pickle-values.js";
import { torchMeaning } from "../../lib/files/torch-pickle.js";

const MEANING: PickleMeaning = torchMeaning((what, position) => {
  throw new Error(`${what} at byte ${position}`);
});

function read(text: string): Promise<{ value: PickleValue; end: number }> {
  return readPickle(Buffer.from(text, "latin1"), "x.pkl", MEANING);
}

async function valueOf(text: string): Promise<PickleValue> {
  return (await read(text)).value;
}

t.test("simple values", async (t) => {
  const cases: [pickle: string, value: PickleValue][] = [
    ["N.", null],
    ["\x88.", true],
    ["\x89.", false],
    ["K\xff.", 255],
    ["M\x01\x02.", 513],
    ["J\xfe\xff\xff\xff.", -2],
    ["\x8a\x00.", 0],
    ["\x8a\x01\xff.", -1],
    ["\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f.", 2n ** 63n - 1n],
    ["G?\xf8\x00\x00\x00\x00\x00\x00.", 1.5],
    ["X\x03\x00\x00\x00a\xc3\xa9.", "aé"],
    ["\x8c\x01b.", "b"],
    ["\x8d\x01\x00\x00\x00\x00\x00\x00\x00c.", "c"],
    ["U\x01d.", "d"],
  ];
  for (const [pickle, value] of cases) t.equal(await valueOf(`\x80\x02${pickle}`), value, JSON.stringify(pickle));
});

t.test("lists, tuples, dictionaries and the memo", async (t) => {
  t.strictSame(await valueOf("](K\x01K\x02eK\x03a."), [1, 2, 3]);
  t.strictSame(await valueOf("K\x01K\x02K\x03\x87."), [1, 2, 3]);
  t.strictSame(await valueOf("(K\x01N\x85t."), [1, [null]]);
  t.strictSame(await valueOf(")."), []);
  t.strictSame(
    await valueOf("}(\x8c\x01aK\x01\x8c\x01bK\x02u\x8c\x01cNs."),
    new Map([
      ["a", 1],
      ["b", 2],
      ["c", null],
    ] as [PickleValue, PickleValue][]),
  );
  const [a, b] = (await valueOf("]q\x05h\x05\x86.")) as [PickleValue, PickleValue];
  t.equal(a, b, "one list, twice");
  const own = (await valueOf("]\x94h\x00a.")) as PickleValue[];
  t.equal(own[0], own, "a list in itself");
  t.equal(await valueOf("(K\x01K\x021K\x07."), 7, "values above a mark that are dropped");
  t.equal(await valueOf("(0K\x07."), 7, "a mark that is taken away");
});

t.test("names stay names: nothing is called, and what is unknown is passed over", async (t) => {
  const value = (await valueOf("cos\nsystem\n\x8c\x08rm -rf /\x85R.")) as PickleObject;
  t.ok(value instanceof PickleObject);
  t.match(value, { type: { name: "os.system", position: 0 }, parts: [["rm -rf /"]] });
  t.match(await valueOf("\x80\x04\x8c\x08builtins\x8c\x04eval\x93."), new PickleGlobal("builtins.eval", 18));
  const object = (await valueOf("ca\nB\n)\x81}(\x8c\x01xK\x01ub(K\x05e(K\x06K\x07u.")) as PickleObject;
  t.strictSame(object.parts, [[], new Map([["x", 1]]), 5, 6, 7], "state, items and keys are kept as parts");
  const known = (await valueOf("ccollections\nOrderedDict\n)R(\x8c\x01aK\x01u}b.")) as Map<PickleValue, PickleValue>;
  t.strictSame([...known], [["a", 1]], "PyTorch's state of a dictionary is not needed");
});

t.test("what is wrong is told with its place", async (t) => {
  const cases: [pickle: string, message: RegExp][] = [
    ["\x80\x06N.", /x\.pkl: protocol 6 of pickles, above 5, at byte 0$/],
    ["N(I1\n.", /the operation 0x49 \("I"\), which a checkpoint does not need, at byte 2$/],
    ["\x82\x01.", /the operation 0x82, which/],
    ["R.", /an operation without its values at byte 0/],
    ["NN.", /an end with values left over at byte 2/],
    ["(N.", /an end with values left over at byte 2/],
    ["t.", /without its mark at byte 0/],
    ["NK\x01a.", /items for None at byte 3/],
    ["N(K\x01K\x02u.", /keys and values for None/],
    ["}(K\x01u.", /a key without its value/],
    ["N)R.", /a call of None at byte 2/],
    ["ca\nb\nNR.", /a call of a\.b with None/],
    ["NNb.", /a state for None/],
    ["h\x07.", /a value 7 of the memo that was never set at byte 0/],
    ["K\x01K\x02\x93.", /a global named by a number and a number/],
    ["\x8b\xff\xff\xff\x00.", /an integer of 16777215 bytes, above the bound of 256/],
    ["X\x02\x00\x00\x00\xff\xff.", /the string at byte 5: not valid UTF-8/],
    [`c${"a".repeat(2000)}\nb\n.`, /a name of more than 1024 bytes at byte 1/],
    ["K\x01Q.", /a persistent id that is a number at byte 2/],
    ["\x8c\x04fileK\x01\x86Q.", /a persistent id that names no storage/],
  ];
  for (const [pickle, message] of cases) {
    await t.rejects(read(pickle), { message }, JSON.stringify(pickle));
  }
  for (const pickle of [
    "",
    "N",
    "X\xff\xff\xff\x7fab",
    "\x8d\xff\xff\xff\xff\xff\xff\xff\xffab",
    "cos\nsyst",
    "K",
    "\x95\x01",
  ]) {
    const error: unknown = await read(pickle).catch((reason: unknown) => reason);
    t.ok(error instanceof PickleCutShortError, JSON.stringify(pickle));
  }
});

t.test("programs that would take all memory are stopped", async (t) => {
  const bomb = (pickle: string, count: number): Promise<unknown> => read(pickle.repeat(count));
  await t.rejects(bomb("N", 3_000_000), { code: "ERR_CHECKPOINT_INVALID", message: /more than 2000000 operations/ });
  await t.rejects(bomb("}", 300_000), { code: "ERR_CHECKPOINT_INVALID", message: /more than 200000 objects/ });
  for (const value of ["\x8c\x01a", "\x8a\x10" + "\x01".repeat(16), "ca\nb\n"])
    await t.rejects(bomb(value, 300_000), { code: "ERR_CHECKPOINT_INVALID", message: /more than 200000 objects/ });
  await t.rejects(bomb("N\x94", 400_000), { code: "ERR_CHECKPOINT_INVALID", message: /a memo of more than 300000/ });
  t.ok(await valueOf(`N${"\x85".repeat(100_000)}.`), "nesting alone is no harm");
});

t.test("the event loop turns while a long pickle is read", async (t) => {
  let turns = 0;
  const timer = setInterval(() => turns++, 1);
  await read(`](${"K\x01".repeat(900_000)}e.`);
  clearInterval(timer);
  t.ok(turns > 0, `${turns} turns`);
});

t.test("tensors that are none", async (t) => {
  const storage = "(\x8c\x07storagectorch\nFloatStorage\n\x8c\x010\x8c\x03cpuK\x0atQ";
  const tensor = (args: string): string => `ctorch._utils\n_rebuild_tensor_v2\n(${args}tR.`;
  t.match(await valueOf(tensor(`${storage}K\x02K\x03\x85K\x01\x85`)), {
    offset: 2,
    shape: [3],
    strides: [1],
    storage: { dtype: "float32", key: "0", total: 10, begin: 0, count: 10 },
  });
  const cases: [args: string, message: RegExp][] = [
    ["NK\x00))", /a tensor of None instead of a storage at byte \d+/],
    [`${storage}N))`, /a tensor's offset that is None/],
    [`${storage}J\xff\xff\xff\xff))`, /a tensor's offset that is -1/],
    [`${storage}K\x00K\x01)`, /a tensor's shape that is a number/],
    [`${storage}K\x00N\x85)`, /a tensor's shape that is None/],
    [`${storage}K\x00)G?\xf8\x00\x00\x00\x00\x00\x00\x85`, /a tensor's strides that is 1\.5/],
    [`${storage}K\x00(${"K\x01".repeat(65)}t)`, /a tensor's shape of 65 dimensions/],
  ];
  for (const [args, message] of cases) await t.rejects(read(tensor(args)), { message }, message.source);
});
