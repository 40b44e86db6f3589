// A pipeline and its parts by their name on the hub, from a server on loopback that has the demo checkpoint.
import { cpSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import t, { type Test } from "tap";
import { DDIMScheduler, type DownloadProgress, LDMPipeline, UNet2DModel, VQModel } from "../../lib/index.js";
import { type HubServer, ID, startHub } from "./hub-server.js";

const DEMO = resolve(__dirname, "../../models/demo");
const WEIGHTS = "diffusion_pytorch_model.safetensors";

/** Every file of a folder, by its name with slashes. */
function readFolder(folder: string): Map<string, Buffer> {
  const names = readdirSync(folder, { recursive: true, encoding: "utf8" });
  const files = names.map((name) => join(folder, name)).filter((path) => statSync(path).isFile());
  return new Map(files.map((path) => [relative(folder, path).replaceAll("\\", "/"), readFileSync(path)]));
}

const CHECKPOINT = readFolder(DEMO);

/** The files of a checkpoint under other names; null takes one away. */
function renamed(changes: Readonly<Record<string, string | null>>): Map<string, Buffer> {
  const name = (old: string): string | null => (old in changes ? (changes[old] ?? null) : old);
  return new Map([...CHECKPOINT].flatMap(([old, bytes]) => (name(old) === null ? [] : [[name(old) ?? "", bytes]])));
}

async function setUp(
  t: Test,
  files: ReadonlyMap<string, Buffer> = CHECKPOINT,
): Promise<{ hub: HubServer; options: { endpoint: string; cacheDir: string; token: false }; sent: () => string[] }> {
  const hub = await startHub(files);
  t.teardown(() => hub.close());
  const options = { endpoint: hub.endpoint, cacheDir: t.testdir({}), token: false } as const;
  /** The files that were asked for, each once. */
  const sent = (): string[] => {
    const paths = hub.seen.filter(({ path }) => path.includes("/resolve/")).map(({ path }) => path);
    return [...new Set(paths.map((path) => path.split("/").slice(5).join("/")))].sort();
  };
  return { hub, options, sent };
}

const NEEDED = [
  "model_index.json",
  "scheduler/scheduler_config.json",
  "unet/config.json",
  `unet/${WEIGHTS}`,
  "vqvae/config.json",
  `vqvae/${WEIGHTS}`,
];

t.test("a pipeline by its name makes the picture that its folder makes, of the needed files only", async (t) => {
  const { hub, options, sent } = await setUp(t);
  const told: DownloadProgress[] = [];
  const pipe = await LDMPipeline.fromPretrained(ID, { ...options, onProgress: (progress) => told.push(progress) });
  const local = await LDMPipeline.fromPretrained(pathToFileURL(DEMO));
  t.teardown(() => [pipe, local].forEach((each) => each.dispose()));
  const [here] = await pipe.generate({ seed: 1, numInferenceSteps: 1 });
  const [there] = await local.generate({ seed: 1, numInferenceSteps: 1 });
  t.ok(here[0]?.data.length, "a picture");
  t.same(here[0]?.data, there[0]?.data);
  t.same(sent(), NEEDED);
  const last = told.at(-1);
  const bytes = NEEDED.reduce((sum, name) => sum + (CHECKPOINT.get(name)?.length ?? 0), 0);
  t.match(last, { filesDone: 6, files: 6, bytesDone: bytes, bytes });
  t.ok((last?.rate ?? 0) > 0);

  const before = hub.seen.length;
  const folder = await LDMPipeline.download(ID, options);
  t.equal(hub.seen.length - before, 1, "only the revision is asked for");
  for (const name of NEEDED) t.same(readFileSync(join(folder, name)), CHECKPOINT.get(name), name);
});

t.test("each part by its name and subfolder", async (t) => {
  const { options, sent } = await setUp(t);
  const unet = await UNet2DModel.fromPretrained(ID, { ...options, subfolder: "unet" });
  t.teardown(() => unet.dispose());
  t.same(sent(), ["unet/config.json", `unet/${WEIGHTS}`]);
  const vqvae = await VQModel.fromPretrained(ID, { ...options, subfolder: "./vqvae/" });
  t.teardown(() => vqvae.dispose());
  const scheduler = await DDIMScheduler.fromPretrained(ID, { ...options, subfolder: "scheduler" });
  t.equal(scheduler.className, "DDIMScheduler");
  t.same(sent(), NEEDED.slice(1));
  await t.rejects(UNet2DModel.fromPretrained(ID, { ...options, subfolder: "other" }), {
    code: "ERR_CHECKPOINT_NOT_FOUND",
    message: /owner\/name\/other/,
  });
  await t.rejects(DDIMScheduler.fromPretrained(ID, { ...options, subfolder: "../scheduler" }), {
    code: "ERR_HUB_NOT_FOUND",
  });
});

t.test("parts that are brought are not downloaded", async (t) => {
  const { options, sent } = await setUp(t);
  const unet = await UNet2DModel.fromPretrained(join(DEMO, "unet"));
  t.teardown(() => unet.dispose());
  const scheduler = new DDIMScheduler();
  const pipe = await LDMPipeline.fromPretrained(ID, { ...options, unet, scheduler });
  t.teardown(() => pipe.dispose());
  t.same(sent(), ["model_index.json", "vqvae/config.json", `vqvae/${WEIGHTS}`]);
});

t.test("which weights", async (t) => {
  const index = (shard: string): Buffer => Buffer.from(JSON.stringify({ weight_map: { a: shard, b: shard } }));
  const cases: readonly (readonly [name: string, Map<string, Buffer>, variant: string | undefined, unet: string[]])[] =
    [
      [
        "a variant, where one network has it",
        renamed({ [`unet/${WEIGHTS}`]: "unet/diffusion_pytorch_model.fp16.safetensors" }),
        "fp16",
        ["diffusion_pytorch_model.fp16.safetensors"],
      ],
      [
        "safetensors before .bin, flax and onnx",
        new Map([
          ...CHECKPOINT,
          ["unet/diffusion_pytorch_model.bin", Buffer.from("x")],
          ["unet/diffusion_flax_model.msgpack", Buffer.from("x")],
          ["unet/model.onnx", Buffer.from("x")],
        ]),
        undefined,
        [WEIGHTS],
      ],
      [
        ".bin where there is nothing else",
        renamed({ [`unet/${WEIGHTS}`]: "unet/diffusion_pytorch_model.bin" }),
        undefined,
        ["diffusion_pytorch_model.bin"],
      ],
      [
        "the shards that an index names",
        new Map([
          ...renamed({ [`unet/${WEIGHTS}`]: "unet/diffusion_pytorch_model-00001-of-00001.safetensors" }),
          [
            "unet/diffusion_pytorch_model.safetensors.index.json",
            index("diffusion_pytorch_model-00001-of-00001.safetensors"),
          ],
        ]),
        undefined,
        ["diffusion_pytorch_model-00001-of-00001.safetensors", "diffusion_pytorch_model.safetensors.index.json"],
      ],
      [
        "the shards of a variant under its older name",
        new Map([
          ...renamed({ [`unet/${WEIGHTS}`]: "unet/diffusion_pytorch_model-00001-of-00001.fp16.safetensors" }),
          [
            "unet/diffusion_pytorch_model.safetensors.fp16.index.json",
            index("diffusion_pytorch_model-00001-of-00001.fp16.safetensors"),
          ],
        ]),
        "fp16",
        [
          "diffusion_pytorch_model-00001-of-00001.fp16.safetensors",
          "diffusion_pytorch_model.safetensors.fp16.index.json",
        ],
      ],
    ];
  for (const [name, files, variant, unet] of cases) {
    await t.test(name, async (t) => {
      const { options, sent } = await setUp(t, files);
      await LDMPipeline.download(ID, { ...options, variant });
      const wanted = sent().filter((file) => file.startsWith("unet/diffusion"));
      t.same(wanted, unet.map((file) => `unet/${file}`).sort());
      t.ok(sent().includes(`vqvae/${WEIGHTS}`), "the other network's weights without a variant");
    });
  }
});

t.test("what cannot be loaded is not downloaded", async (t) => {
  const other = Buffer.from(JSON.stringify({ _class_name: "StableDiffusionPipeline", unet: ["diffusers", "UNet"] }));
  const cases: readonly (readonly [name: string, Map<string, Buffer>, code: string, variant?: string])[] = [
    ["another pipeline", new Map([...CHECKPOINT, ["model_index.json", other]]), "ERR_CONFIG_UNSUPPORTED"],
    ["no index", renamed({ "model_index.json": null }), "ERR_HUB_NOT_FOUND"],
    ["no weights", renamed({ [`unet/${WEIGHTS}`]: null }), "ERR_CHECKPOINT_NOT_FOUND"],
    ["no such variant", CHECKPOINT, "ERR_CHECKPOINT_NOT_FOUND", "fp16"],
    [
      "an index that names a path",
      new Map([
        ...CHECKPOINT,
        [`unet/${WEIGHTS}.index.json`, Buffer.from('{"weight_map": {"a": "../../model.safetensors"}}')],
      ]),
      "ERR_CHECKPOINT_INVALID",
    ],
  ];
  for (const [name, files, code, variant] of cases) {
    const { options, sent } = await setUp(t, files);
    await t.rejects(LDMPipeline.fromPretrained(ID, { ...options, variant }), { code }, name);
    t.notOk(
      sent().some((file) => file.endsWith(".safetensors")),
      name,
    );
  }
});

t.test("a folder of that name comes first, and no request is sent", async (t) => {
  const { hub, options } = await setUp(t);
  const folder = t.testdir({ owner: {} });
  cpSync(DEMO, join(folder, "owner", "name"), { recursive: true });
  const before = process.cwd();
  process.chdir(folder);
  t.teardown(() => process.chdir(before));
  const scheduler = await DDIMScheduler.fromPretrained(ID, { ...options, subfolder: "scheduler" });
  t.equal(scheduler.className, "DDIMScheduler");
  t.equal(hub.seen.length, 0);
});

t.test("a name that is neither a folder nor a repository", async (t) => {
  for (const source of ["no-such-folder", "/no/such/folder", "a/b/c", "a/b.git", __filename])
    await t.rejects(LDMPipeline.fromPretrained(source), { code: "ERR_CHECKPOINT_NOT_FOUND" }, source);
  await t.rejects(LDMPipeline.download("models"), { code: "ERR_INVALID_ARGUMENT", message: /owner\/name/ });
  const { options } = await setUp(t);
  await t.rejects(LDMPipeline.fromPretrained("owner/other", options), {
    code: "ERR_HUB_NOT_FOUND",
    message: /no folder owner\/other here; on the hub: There is no repository owner\/other/,
  });
});

t.test("an abort stops a download at once", async (t) => {
  const { options } = await setUp(t);
  const stop = new AbortController();
  const onProgress = (): void => stop.abort();
  await t.rejects(LDMPipeline.fromPretrained(ID, { ...options, onProgress, signal: stop.signal }), {
    name: "AbortError",
    code: "ERR_ABORTED",
  });
  await t.rejects(LDMPipeline.download(ID, { ...options, signal: AbortSignal.abort() }), { name: "AbortError" });
});
