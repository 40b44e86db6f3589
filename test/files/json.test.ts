import t from "tap";
import { LatentDiffusionError } from "../../lib/errors.js";
import { parseJson, parseJsonMembers } from "../../lib/files/json.js";
import { xorshift } from "../support/xorshift.js";

t.test("any JSON is parsed as JSON.parse parses it", (t) => {
  const texts = [
    "0",
    "-0",
    " 1.5e-3 ",
    "1E5",
    "-12.25e+2",
    "9007199254740991",
    '""',
    '"a\\u00e9\\n\\"\\\\\\/\\b\\f\\r\\t\\ud83d\\ude00é😀"',
    "true",
    "false",
    "null",
    "[]",
    "[ ]",
    "{}",
    "{ }",
    '[1,[2,[3,{"a":[]}]],"x"]',
    '{"a":{"b":{"c":null}},"d":[{}],"":0," ":1}',
    '\t\n\r {"a" : 1 ,\n"b":[ 2 , 3 ] } ',
  ];
  for (const text of texts) t.strictSame(parseJson(text, "f"), JSON.parse(text), text);
  t.end();
});

t.test("Python's words for what JSON has none for are read where they are allowed", (t) => {
  t.strictSame(parseJson("[NaN, Infinity, -Infinity]", "f", { nonFinite: true }), [NaN, Infinity, -Infinity]);
  for (const word of ["NaN", "Infinity", "-Infinity"])
    t.throws(() => parseJson(word, "f"), {
      code: "ERR_CHECKPOINT_INVALID",
      message: `f: not valid JSON at line 1, column 1: ${word} is not JSON`,
    });
  for (const word of ["nan", "inf", "-NaN", "+1", "True", "None", "undefined"])
    t.throws(() => parseJson(word, "f", { nonFinite: true }), { message: /expected a value but found/ });
  t.end();
});

t.test("words without a place in JSON are found wherever they are", async (t) => {
  const text = '{"a":{"b":[1,NaN,{"__proto__":-Infinity}],"c":NaN},"d":Infinity,"e":[]}';
  const expected = { a: { b: [1, NaN, Object.fromEntries([["__proto__", -Infinity]])], c: NaN }, d: Infinity, e: [] };
  t.strictSame(parseJson(text, "f", { nonFinite: true }), expected);
  t.strictSame(Object.fromEntries(await parseJsonMembers(text, "f", { nonFinite: true })), expected);
  t.strictSame(parseJson("NaN", "f", { nonFinite: true }), NaN);
  t.notOk("b" in {}, "no prototype was touched");
});

t.test("members are told apart, and bounded one by one", async (t) => {
  t.strictSame(
    [...(await parseJsonMembers('{"b":[{}],"a":{"b":1},"":0}', "f"))],
    [
      ["b", [{}]],
      ["a", { b: 1 }],
      ["", 0],
    ],
  );
  t.equal((await parseJsonMembers(" { } ", "f")).size, 0);
  for (const text of ["[1]", "1", "null", '"a"'])
    await t.rejects(parseJsonMembers(text, "f"), { message: /f: Expected a JSON object but received/ }, text);
  await t.rejects(parseJsonMembers(`{"a":"${"x".repeat(5e6)}"}`, "f"), { message: /5000002 bytes, above the bound/ });
  await t.rejects(parseJsonMembers('{"a":1,"b":2,"a":3}', "f"), { message: /column 14: the key "a" appears twice/ });
});

t.test("a position is told by line and column", (t) => {
  t.throws(() => parseJson('{\n  "a": 1,\n  "b" 2\n}', "file.json"), {
    message: 'file.json: not valid JSON at line 3, column 7: expected ":" but found "2"',
  });
  t.throws(() => parseJson('{"a": 1,\n "a": 2}', "file.json"), {
    message: 'file.json: not valid JSON at line 2, column 2: the key "a" appears twice in one object',
  });
  t.end();
});

t.test(
  "mutated texts: what is accepted equals JSON.parse's value, what is refused is JSON.parse's to refuse too or one of the stated extras",
  (t) => {
    const original =
      '{"_class_name":"UNet2DModel","norm_eps":1e-05,"list":[1,2.5,-3,{"x":null}],"text":"a\\u00e9\\n","flag":true}';
    const random = xorshift(3);
    const below = (bound: number): number => random.next().value % bound;
    const pieces = [
      "{",
      "}",
      "[",
      "]",
      ",",
      ":",
      '"',
      "\\",
      "\\u12",
      "e",
      ".",
      "-",
      "0",
      "00",
      " ",
      "\n",
      "true",
      "null",
      '"x":1',
      "1e999",
      "12345678901234567890",
      "é",
      "\u2028",
    ];
    const extras = /appears twice|beyond 2\^53|surrogate|nested deeper/;
    let accepted = 0;
    for (let round = 0; round < 5000; round++) {
      let text = original;
      for (let i = below(2); i >= 0; i--) {
        const at = below(text.length);
        text = text.slice(0, at) + (pieces[below(pieces.length)] ?? "") + text.slice(at + below(3));
      }
      const ours = attempt(() => parseJson(text, "f"));
      const theirs = attempt(() => JSON.parse(text) as unknown);
      if (ours instanceof Error) {
        const stated = ours instanceof LatentDiffusionError && ours.code === "ERR_CHECKPOINT_INVALID";
        if (!stated || !(theirs instanceof Error || extras.test(ours.message)))
          t.fail(`${JSON.stringify(text)}: ${String(ours)}`);
      } else {
        accepted++;
        if (JSON.stringify(ours) !== JSON.stringify(theirs)) t.fail(`${JSON.stringify(text)}: ${JSON.stringify(ours)}`);
      }
    }
    t.ok(accepted > 200 && accepted < 4000, `${accepted} of 5000 accepted`);
    t.end();
  },
);

function attempt(call: () => unknown): unknown {
  try {
    return call();
  } catch (error) {
    return error;
  }
}
