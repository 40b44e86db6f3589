import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { ZipArchive } from "../../lib/files/zip.js";
import { Generator, ScriptModule } from "../../lib/index.js";
import type { ModuleSpec } from "../../lib/native/contract.js";
import { checkScriptSource } from "../../lib/torch/script-archive.js";
import { checkNesting } from "../../lib/torch/script-code.js";
import { sourceOf } from "../support/byte-source.js";
import { mutate } from "../support/mutations.js";
import { writeZip } from "../support/zip-writer.js";

const FROZEN = join(__dirname, "..", "fixtures", "torchscript", "frozen-bfloat16.pt");
const NET: ModuleSpec = {
  name: "Net",
  source: "def forward(self, x):\n    return torch.linear(x, self.weight)",
  parameters: [["weight", [4, 3]]],
  children: [],
};

/** The records of an archive by name without its folder, unpacked. */
async function recordsOf(bytes: Uint8Array): Promise<Map<string, Buffer>> {
  const archive = await ZipArchive.open(sourceOf(bytes), "original");
  const records = new Map<string, Buffer>();
  for (const record of archive.records.values())
    records.set(record.name.replace(/^[^/]*\//, ""), Buffer.from(await archive.read(record, 1e9)));
  return records;
}

/** An archive with some of its records replaced. */
function archiveOf(
  records: ReadonlyMap<string, Buffer>,
  changes: Readonly<Record<string, Buffer | string>> = {},
): Buffer {
  const all = new Map([
    ...records,
    ...Object.entries(changes).map(([name, data]) => [name, Buffer.from(data as string, "latin1")] as const),
  ]);
  return writeZip([...all].map(([name, data]) => ({ name: `x/${name}`, data })));
}

/** A saved module of this package, and its records. */
const saved = (async () => {
  const folder = mkdtempSync(join(tmpdir(), "script-archive-"));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const path = join(folder, "net.pt");
  using module = await ScriptModule.define(NET, new Map([["weight", Generator.fromSeed(0).randn([4, 3])]]));
  await module.save(path);
  const bytes = readFileSync(path);
  const records = await recordsOf(bytes);
  const code = [...records.keys()].find((name) => name.endsWith(".py")) ?? "";
  return { folder, bytes, records, code, text: records.get(code)?.toString() ?? "" };
})();

t.test("whole files pass, and load when they are written anew without compression", async (t) => {
  const { folder, bytes, records } = await saved;
  await checkScriptSource(sourceOf(bytes), "saved");
  await checkScriptSource(sourceOf(readFileSync(FROZEN)), FROZEN);
  const path = join(folder, "again.pt");
  writeFileSync(path, archiveOf(records));
  using module = await ScriptModule.load(path, { trusted: true });
  t.strictSame(
    module.info.parameters.map(({ name }) => name),
    ["weight"],
  );
});

t.test("files that crashed LibTorch are refused before it sees them", async (t) => {
  const { folder, records, code, text } = await saved;
  const expression = (source: string): Record<string, string> => ({
    [code]: text.replace(/return [^\n]*/, `return ${source}`),
  });
  const pickle = records.get("data.pkl") ?? Buffer.alloc(0);
  const tail = (body: string): Record<string, string> => ({ "data.pkl": `\x80\x02${body}.` });
  const cases: [what: string, changes: Record<string, Buffer | string>, message: RegExp][] = [
    [
      "10,000 parentheses",
      expression(`${"(".repeat(10_000)}x${")".repeat(10_000)}`),
      /nests .* deeper than 200 levels/,
    ],
    ["100,000 signs", expression(`${"-".repeat(100_000)}1`), /line \d+ nests/],
    ["a long sum", expression(`x${" + x".repeat(100_000)}`), /line \d+ nests/],
    ["a chain of names", expression(`x${".y".repeat(100_000)}`), /line \d+ nests/],
    ["a chain of calls", expression(`x${"()".repeat(100_000)}`), /line \d+ nests/],
    ["conditions", expression(`${"x if x else ".repeat(50_000)}x`), /line \d+ nests/],
    [
      "an empty storage",
      { "data/0": "" },
      /storage "0" is 12 elements of torch\.FloatStorage, which take 48 bytes, but its record has 0/,
    ],
    ["a short storage", { "data/0": Buffer.alloc(44) }, /take 48 bytes, but its record has 44/],
    ["nested tuples", tail(`N${"\x85".repeat(100_000)}`), /values nested deeper than 300 levels/],
    ["nested lists", tail(`${"]".repeat(100_000)}${"a".repeat(99_999)}`), /values nested deeper than 300 levels/],
    ["a list in itself", tail("]q\x00h\x00a"), /a list or tuple that contains itself/],
    ["much shared", tail(`N${"\x85q\x00h\x00\x86".repeat(100)}`), /shared more than 10000000 times/],
    [
      "a global",
      tail("cos\nsystem\n\x8c\x01x\x85R"),
      /an object of os\.system \(byte 2\), which TorchScript does not have/,
    ],
    ["a bare global", tail("cos\nsystem\n"), /the global os\.system \(byte 2\) where a value is expected/],
    [
      "a deep type",
      tail(`ctorch.jit._pickle\nrestore_type_tag\n(]X\x60\xea\x00\x00${"List[".repeat(12_000)}tR`),
      /the type .* nests/,
    ],
    ["bytes behind", { "data.pkl": Buffer.concat([pickle, Buffer.from("x")]) }, /1 bytes follow its end/],
    ["no constants", { "constants.pkl": "" }, /constants\.pkl: the pickle is cut short/],
    ["two cases", { "DATA.pkl": pickle }, /differ by case alone/],
    ["code", { [code]: "\xff\xfe" }, /not valid UTF-8/],
  ];
  for (const [what, changes, message] of cases) {
    const bytes = archiveOf(records, changes);
    const path = join(folder, "damaged.pt");
    writeFileSync(path, bytes);
    await t.rejects(ScriptModule.load(path, { trusted: true }), { code: "ERR_TORCHSCRIPT_INVALID", message }, what);
  }
});

t.test("a tensor that reaches beyond its storage", async (t) => {
  const { records } = await saved;
  const pickle = records.get("data.pkl") ?? Buffer.alloc(0);
  // The shape (4, 3) and the strides (3, 1).
  const at = pickle.indexOf(Buffer.from("K\x04K\x03", "latin1"));
  t.ok(at > 0);
  const larger = Buffer.from(pickle);
  larger[at + 1] = 5;
  await t.rejects(checkScriptSource(sourceOf(archiveOf(records, { "data.pkl": larger })), "x"), {
    code: "ERR_TORCHSCRIPT_INVALID",
    message: /a tensor's shape \[5, 3\] and strides \[3, 1\] from 0 reach beyond its storage of 12 elements/,
  });
});

t.test("records of where code came from point into their sources", async (t) => {
  const records = await recordsOf(readFileSync(FROZEN));
  const name = [...records.keys()].find((record) => record.endsWith(".debug_pkl")) ?? "";
  const original = records.get(name)?.toString("latin1") ?? "";
  const source = "K\x05K\x82\x87";
  const range = "K\x76K\x7e\x87";
  t.ok(original.includes(source) && original.includes(range));
  const cases: [from: string, to: string, message: RegExp][] = [
    [source, "K\x06K\x82\x87", /entry 1 has a source that is none/],
    ["K\x01K\x02K\x03K\x02K\x04K\x00e", "K\x01K\x02K\x03K\x02K\x09K\x00e", /entry 1 has a source that is none/],
    [range, "K\x76M\xff\xff\x87", /entry 1 has a range beyond its source/],
    [range, "K\x7eK\x76\x87", /has a range beyond/],
    [range, "K\x76N\x87", /has a range beyond/],
    ["K\xec", "N", /entry 1 is no place and range/],
    ["FORMAT_WITH_STRING_TABLE", "FORMAT_WITH_STRING_TABLF", /entry 0 is no place and range/],
  ];
  for (const [from, to, message] of cases) {
    const bytes = archiveOf(records, { [name]: original.replace(from, to) });
    await t.rejects(
      checkScriptSource(sourceOf(bytes), "x"),
      { code: "ERR_TORCHSCRIPT_INVALID", message },
      JSON.stringify(to),
    );
  }
});

t.test("code as people and compilers write it is not deep", async (t) => {
  const { text } = await saved;
  const blocks = (count: number, line: (i: number) => string): string =>
    Array.from({ length: count }, (_, i) => line(i)).join("\n");
  const fine = [
    text,
    `x = [${"-1.5, ".repeat(50_000)}2]`,
    `x = {${'"a": (1, 2), '.repeat(20_000)}}`,
    blocks(5000, (i) => `  y${i} = torch.add(x, torch.mul(y, -${i}), alpha=1)`),
    blocks(5000, () => "if a:\n  x = 1\nelif b:\n  x = 2\nelse:\n  x = 3"),
    `x = "${"((((".repeat(1000)}" # ${"((((".repeat(1000)}`,
    `def f(self: __torch__.a.b.c,\n    ${"x: Optional[Dict[str, List[Tensor]]]=None,\n    ".repeat(3000)}) -> Tensor:\n  return x`,
  ];
  for (const source of fine) t.equal(await checkNesting(source), undefined, source.slice(0, 40));
  const deep: [source: string, line: number][] = [
    [blocks(300, (i) => `${" ".repeat(i)}if x:`), 200],
    [`if a:\n  x = 1\n${"elif b:\n  x = 2\n".repeat(300)}`, 0],
    [`x = 1\n\ny = ${"not ".repeat(300)}a`, 3],
    [`x = (1,\n  ${"[".repeat(300)}`, 2],
  ];
  for (const [source, line] of deep) {
    const pattern = line === 0 ? /^line \d+ nests/ : new RegExp(`^line ${line} nests`);
    t.match(await checkNesting(source), pattern, source.slice(0, 40));
  }
});

t.test("damaged copies are refused with a typed error, or are whole", async (t) => {
  const count = Number(process.env.TORTURE_MUTATIONS ?? 400);
  const { bytes } = await saved;
  let refused = 0;
  let slowest = 0;
  for (let i = 0; i < count; i++) {
    const damaged = mutate(i % 2 === 0 ? bytes : readFileSync(FROZEN), 1 + i);
    const since = performance.now();
    await checkScriptSource(sourceOf(damaged), "damaged").catch((reason: unknown) => {
      const error = reason as { code?: string; stack?: string };
      refused++;
      if (error.code !== "ERR_TORCHSCRIPT_INVALID") t.fail(`seed ${1 + i}: ${error.stack}`);
    });
    slowest = Math.max(slowest, performance.now() - since);
  }
  t.ok(slowest < 1000, `the slowest took ${slowest.toFixed(1)} ms`);
  t.ok(refused > count / 4, `${refused} of ${count} were refused`);
});
