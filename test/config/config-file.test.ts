import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { float, listOf } from "../../lib/config/fields.js";
import { readConfig, writeConfig } from "../../lib/config/config-file.js";
import { spellingOf } from "../../lib/config/number-spelling.js";
import { UNET_2D_CLASS } from "../../lib/models/unet-2d/config.js";

const FLOATS = { scaling_factor: float(1), trained_betas: listOf([], float(0), 9) };
const X = { className: "X", fields: {} };

function folderWith(t: Test, text: string | Uint8Array): string {
  const folder = t.testdir({});
  writeFileSync(join(folder, "config.json"), text);
  return folder;
}

t.test("a config is read whole", async (t) => {
  const folder = folderWith(
    t,
    '{"_class_name":"UNet2DModel","dropout":0.0,"block_out_channels":[32,64],"other":{"a":null,"é":"\\u00e9"},"low":-Infinity}',
  );
  const config = await readConfig(folder, "config.json", "UNet2DModel");
  t.strictSame(spellingOf(config), { "/block_out_channels/0": "32", "/block_out_channels/1": "64", "/dropout": "0.0" });
  t.strictSame(Object.fromEntries(Object.entries(config)), {
    _class_name: "UNet2DModel",
    dropout: 0,
    block_out_channels: [32, 64],
    other: { a: null, é: "é" },
    low: -Infinity,
  });
});

t.test("one of several classes will do", async (t) => {
  const folder = folderWith(t, '{"_class_name":"PNDMScheduler"}');
  t.ok(await readConfig(folder, "config.json", ["DDIMScheduler", "PNDMScheduler"]));
  t.strictSame(
    await readConfig(folderWith(t, "{}"), "config.json", "VQModel"),
    { _class_name: "VQModel" },
    "a config that names no class is anyone's",
  );
});

t.test("refusals name the file and what is wrong", async (t) => {
  const cases: [text: string | Uint8Array, code: string, message: RegExp][] = [
    ["", "ERR_CHECKPOINT_INVALID", /the file is empty/],
    ['{\n  "a": 1,\n}', "ERR_CHECKPOINT_INVALID", /line 3, column 1: expected a key in double quotes but found "}"/],
    ['{"a": 01}', "ERR_CHECKPOINT_INVALID", /expected "}" but found "1"/],
    ['{"a": .5}', "ERR_CHECKPOINT_INVALID", /expected a value but found "\."/],
    ["{'a': 1}", "ERR_CHECKPOINT_INVALID", /found "'"/],
    ['{"a": "\n"}', "ERR_CHECKPOINT_INVALID", /bad escape or a control character/],
    ['{"a": "', "ERR_CHECKPOINT_INVALID", /without its closing quote/],
    ['{"a": 1, "a": 2}', "ERR_CHECKPOINT_INVALID", /column 10: the key "a" appears twice/],
    ['{"a": 12345678901234567890}', "ERR_CHECKPOINT_INVALID", /integer 12345678901234567890 is beyond 2\^53/],
    ["[1]", "ERR_CHECKPOINT_INVALID", /Expected a JSON object but received an array/],
    ["null", "ERR_CHECKPOINT_INVALID", /Expected a JSON object but received null/],
    [Buffer.from([0x7b, 0xc3, 0x7d]), "ERR_CHECKPOINT_INVALID", /not valid UTF-8/],
    [
      '{"_class_name":"UNet2DConditionModel"}',
      "ERR_CONFIG_UNSUPPORTED",
      /Expected "UNet2DModel" for _class_name but received "UNet2DConditionModel"/,
    ],
    ['{"_class_name":["my_unet","UNet2DModel"]}', "ERR_CONFIG_UNSUPPORTED", /received \["my_unet","UNet2DModel"\]/],
  ];
  for (const [text, code, message] of cases) {
    const folder = folderWith(t, text);
    await t.rejects(readConfig(folder, "config.json", "UNet2DModel"), { code, message }, String(text));
    await t.rejects(readConfig(folder, "config.json", "UNet2DModel"), { message: new RegExp(`config\\.json`) });
  }
});

t.test("a file that would hold up the event loop is not parsed", async (t) => {
  const folder = folderWith(t, `{"a":"${" ".repeat(1_000_000)}"}`);
  await t.rejects(readConfig(folder, "config.json", "VQModel"), {
    code: "ERR_CHECKPOINT_INVALID",
    message: /1000008 bytes, above the bound of 1000000/,
  });
});

t.test("a missing file or folder is said to be missing", async (t) => {
  const folder = folderWith(t, "{}");
  await t.rejects(readConfig(folder, "scheduler_config.json", "X"), {
    code: "ERR_CHECKPOINT_NOT_FOUND",
    message: /scheduler_config\.json does not exist/,
  });
  await t.rejects(readConfig(join(folder, "config.json"), "config.json", "X"), { code: "ERR_CHECKPOINT_NOT_FOUND" });
  await t.rejects(
    readConfig(join(folder, ".."), t.testdirName.split(/[\\/]/).at(-1) ?? "", "X"),
    { code: "ERR_IO" },
    "a folder in the place of the file",
  );
});

t.test("__proto__ in a file is a key like any other", async (t) => {
  const folder = folderWith(t, '{"_class_name":"X","__proto__":{"polluted":true}}');
  const config = await readConfig(folder, "config.json", "X");
  t.equal(config.polluted, undefined);
  t.ok(Object.hasOwn(config, "__proto__"));
  await writeConfig(folder, "config.json", X, config);
  t.match(readFileSync(join(folder, "config.json"), "utf8"), '"__proto__": {\n    "polluted": true\n  }');
});

// The right side is what Python 3.11 printed for json.dumps(config, indent=2, sort_keys=True) of the same values.
t.test("a config is written as Python writes it", async (t) => {
  const folder = join(t.testdir({}), "made", "on the way");
  const kind = { className: "UNet2DModel", fields: { ...UNET_2D_CLASS.fields, ...FLOATS } };
  await writeConfig(folder, "config.json", kind, {
    norm_eps: 1e-5,
    dropout: 0,
    beta_start: 0.0015,
    scaling_factor: 1,
    tiny: 1e-7,
    small: 0.0001,
    large: 1e16,
    huge: 1.5e300,
    "\uffff": 1,
    "\u{10000}": 2,
    trained_betas: [0, 0.5, 1],
    lambda_min_clipped: -Infinity,
    not_a_number: NaN,
    sample_size: 64,
    class_embed_type: null,
    text: 'é"\\\n\u007f😀',
    empty: [],
    none: {},
    nested: { b: [[1, 2], []], a: true },
    ratio: 1.25,
    _class_name: "Old",
    _use_default_values: ["a"],
    _ignore_files: [],
    _name_or_path: "a folder of mine",
  });
  t.equal(
    readFileSync(join(folder, "config.json"), "utf8"),
    `{
  "_class_name": "UNet2DModel",
  "_diffusers_version": "0.42.1",
  "beta_start": 0.0015,
  "class_embed_type": null,
  "dropout": 0.0,
  "empty": [],
  "huge": 1.5e+300,
  "lambda_min_clipped": -Infinity,
  "large": 1e+16,
  "nested": {
    "a": true,
    "b": [
      [
        1,
        2
      ],
      []
    ]
  },
  "none": {},
  "norm_eps": 1e-05,
  "not_a_number": NaN,
  "ratio": 1.25,
  "sample_size": 64,
  "scaling_factor": 1.0,
  "small": 0.0001,
  "text": "\\u00e9\\"\\\\\\n\\u007f\\ud83d\\ude00",
  "tiny": 1e-07,
  "trained_betas": [
    0.0,
    0.5,
    1.0
  ],
  "\\uffff": 1,
  "\\ud800\\udc00": 2
}
`,
  );
  t.strictSame(readdirSync(folder), ["config.json"], "no temporary file is left");
});

t.test("a config that cannot be put in place leaves nothing behind", async (t) => {
  const folder = t.testdir({ "config.json": {} });
  await t.rejects(writeConfig(folder, "config.json", X, {}), {
    code: "ERR_IO",
    message: /Cannot write .*config\.json/,
  });
  t.strictSame(readdirSync(folder), ["config.json"]);
  await t.rejects(writeConfig(join(folder, "config.json", "x\0y"), "config.json", X, {}), {
    code: "ERR_IO",
    message: /Cannot make the folder/,
  });
});
