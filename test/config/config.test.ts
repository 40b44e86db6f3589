import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { type ConfigClass, completeForeign, completeLiteral, completeNetwork } from "../../lib/config/config.js";
import { readConfig, writeConfig } from "../../lib/config/config-file.js";
import { boolean, float, integer, listOf, nullable, number, oneOf } from "../../lib/config/fields.js";
import { wholeNumberTokens } from "../../lib/config/number-spelling.js";
import { UNET_2D_CLASS } from "../../lib/models/unet-2d/config.js";
import { VQ_CLASS } from "../../lib/models/vq/config.js";
import { DDIM_CLASS } from "../../lib/schedulers/ddim.js";

interface Keys {
  readonly size: number;
  readonly eps: number;
  readonly scale: number;
  readonly betas: readonly number[] | null;
  readonly kind: "a" | "b";
  readonly on: boolean;
}

const KIND: ConfigClass<Keys> = {
  className: "Thing",
  fields: {
    size: integer(8, { max: 100 }),
    eps: float(1, { above: 0 }),
    scale: number(1, { nonZero: true }),
    betas: nullable(listOf([], float(0, { min: 0, max: 1 }), 3)),
    kind: oneOf("a", ["a", "b"]),
    on: boolean(true),
  },
};

/** Load a file, complete it by `complete`, save it, and return the new file's JSON text. */
async function roundTrip<K extends object>(
  t: Test,
  kind: ConfigClass<K>,
  text: string,
  change: (config: object) => object = (config) => config,
): Promise<string> {
  const folder = t.testdir({});
  writeFileSync(join(folder, "config.json"), text);
  const config = change(completeNetwork(kind, await readConfig(folder, "config.json", kind.className)));
  mkdirSync(join(folder, "saved"), { recursive: true });
  await writeConfig(join(folder, "saved"), "config.json", kind, completeNetwork(kind, config));
  return readFileSync(join(folder, "saved", "config.json"), "utf8");
}

const file = (className: string, lines: readonly string[]): string =>
  `{\n  "_class_name": "${className}",\n  "_diffusers_version": "0.42.1",\n${lines.map((line) => `  ${line}`).join(",\n")}\n}\n`;

t.test("a file that is loaded and saved has the same text: keys, integers and floats", async (t) => {
  const text = file("Thing", [
    '"betas": [\n    0.0,\n    1,\n    0.5\n  ]',
    '"decay": 1.0',
    '"ema": {\n    "a/b": 2.0,\n    "list": [\n      1,\n      3.0\n    ],\n    "n": 2\n  }',
    '"eps": 1',
    '"large": 1e+16',
    '"size": 8',
  ]);
  t.equal(await roundTrip(t, KIND, text), text);
  t.equal(await roundTrip(t, KIND, text, (config) => ({ ...config })), text, "a spread copy is the same config");
  t.match(await roundTrip(t, KIND, text, (config) => ({ ...config, eps: 2 })), '"eps": 2.0', "a new value is a float");
  t.match(await roundTrip(t, KIND, text, (config) => ({ ...config, on: false })), '"on": false');
});

t.test("a network's file keeps its keys, and a VQModel's gets its scaling factor", async (t) => {
  const unet = file("UNet2DModel", [
    '"dropout": 0',
    '"freq_shift": 0',
    '"mid_block_scale_factor": 1',
    '"norm_eps": 1e-06',
  ]);
  t.equal(await roundTrip(t, UNET_2D_CLASS, unet), unet);
  const vq = file("VQModel", ['"sample_size": null']);
  t.equal(await roundTrip(t, VQ_CLASS, vq), file("VQModel", ['"sample_size": null', '"scaling_factor": 1.0']));
});

t.test("a literal is written with every key, floats as floats", async (t) => {
  const folder = t.testdir({});
  await writeConfig(folder, "config.json", KIND, completeLiteral(KIND, { eps: 3 }));
  const text = readFileSync(join(folder, "config.json"), "utf8");
  t.match(text, '"eps": 3.0');
  t.match(text, '"scale": 1,');
  t.match(text, '"kind": "a"');
  t.notMatch(text, "_use_default_values");
});

t.test("what nobody set gives way to another class's defaults", async (t) => {
  const fresh = completeLiteral(KIND, { eps: 2 });
  t.strictSame(fresh._use_default_values, ["size", "scale", "betas", "kind", "on"]);
  const other: ConfigClass<Keys> = { className: "Other", fields: { ...KIND.fields, size: integer(16) } };
  t.equal(completeForeign(other, fresh).size, 16);
  t.equal(completeForeign(other, completeLiteral(KIND, { size: 8 })).size, 8);
  t.equal(completeForeign(other, fresh, { size: 9 }).size, 9);
});

t.test("numbers beyond their bounds, and what is no config, are refused", async (t) => {
  const refused: [object, RegExp][] = [
    [{ size: 101 }, /an integer from 1 to 100 for size but received 101/],
    [{ size: 1.5 }, /size but received 1.5/],
    [{ eps: 0 }, /a finite number above 0 for eps/],
    [{ scale: 0 }, /other than 0 for scale/],
    [{ betas: [0, 0, 0, 0] }, /a list of at most 3 for betas/],
    [{ betas: [2] }, /from 0 to 1 for betas\[0\]/],
    [{ betas: [] }, /a list for betas/],
    [{ kind: "c" }, /one of "a", "b" for kind but received "c"/],
    [{ on: 1 }, /true or false for on/],
  ];
  for (const [literal, message] of refused)
    t.throws(() => completeLiteral(KIND, literal), { code: "ERR_CONFIG_UNSUPPORTED", message });
  for (const value of [null, [], 1, "x", Promise.resolve({}), new Map(), Object.create({ size: 3 }) as object])
    t.throws(() => completeLiteral(KIND, value as object), { code: "ERR_INVALID_ARGUMENT" });
  t.throws(() => completeLiteral(KIND, { sise: 3 }), { code: "ERR_INVALID_ARGUMENT", message: /did you mean "size"/ });
  const cycle: Record<string, unknown> = { _class_name: "Thing" };
  cycle.self = cycle;
  for (const foreign of [
    cycle,
    { a: () => 1 },
    Object.fromEntries(Array.from({ length: 1001 }, (_, i) => [`k${i}`, 0])),
    { a: new Array(2 ** 32 - 1) },
  ])
    t.throws(() => completeForeign(KIND, foreign), { code: /ERR_CONFIG_UNSUPPORTED|ERR_INVALID_ARGUMENT/ });
});

t.test("sizes that no published model has are refused at once", async (t) => {
  for (const config of [
    { layers_per_block: 1e9 },
    { num_train_timesteps: 1e9 },
    { block_out_channels: Array(100_000).fill(32) },
    { in_channels: 1e6 },
    { num_class_embeds: 1e10 },
  ])
    t.throws(
      () => completeNetwork(UNET_2D_CLASS, config),
      { code: "ERR_CONFIG_UNSUPPORTED" },
      JSON.stringify(config).slice(0, 60),
    );
  t.throws(() => completeNetwork(VQ_CLASS, { layers_per_block: 100_000 }), { code: "ERR_CONFIG_UNSUPPORTED" });
  t.throws(() => completeLiteral(DDIM_CLASS, { num_train_timesteps: 1e8 }), { code: "ERR_CONFIG_UNSUPPORTED" });
});

t.test("tokens of whole numbers by their paths", async (t) => {
  t.strictSame(wholeNumberTokens('{"a": 1.0, "b~/": [1, 2.5, {"c": -0.0}], "d": "1.0, {", "e\\"": 1e3, "f": NaN}'), {
    "/a": "1.0",
    "/b~0~1/0": "1",
    "/b~0~1/2/c": "-0.0",
    '/e"': "1e3",
  });
});
