import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { pipelineConfig, readModelIndex, writeModelIndex } from "../../lib/checkpoint/model-index.js";

const PARTS = {
  vqvae: ["diffusers", "VQModel"],
  unet: ["diffusers", "UNet2DModel"],
  scheduler: ["diffusers", "DDIMScheduler"],
};

function folderWith(t: Test, index: object): string {
  const folder = t.testdir({});
  writeFileSync(join(folder, "model_index.json"), JSON.stringify(index));
  return folder;
}

t.test("the classes of the parts are read", async (t) => {
  const folder = folderWith(t, {
    _class_name: "LDMPipeline",
    _diffusers_version: "0.1.2",
    _name_or_path: ["ignored"],
    ...PARTS,
    safety_checker: [null, null],
  });
  t.strictSame(await readModelIndex(folder), { vqvae: "VQModel", unet: "UNet2DModel", scheduler: "DDIMScheduler" });
});

t.test("the pipeline's first name is known, and a part may be left for the caller to bring", async (t) => {
  const folder = folderWith(t, { _class_name: "LatentDiffusionUncondPipeline", ...PARTS, scheduler: [null, null] });
  t.equal((await readModelIndex(folder)).scheduler, null);
});

t.test("arguments of the pipeline's constructor are passed over, as in Python", async (t) => {
  const index = { _class_name: "LDMPipeline", ...PARTS, requires_safety_checker: false, note: "x", n: 1, none: null };
  t.strictSame(await readModelIndex(folderWith(t, index)), {
    vqvae: "VQModel",
    unet: "UNet2DModel",
    scheduler: "DDIMScheduler",
  });
});

t.test("what is written is what diffusers writes, and is read again", async (t) => {
  const folder = join(t.testdir({}), "pipeline");
  const index = { vqvae: "VQModel", unet: "UNet2DModel", scheduler: null } as const;
  await writeModelIndex(folder, pipelineConfig(index));
  t.equal(
    readFileSync(join(folder, "model_index.json"), "utf8"),
    `{
  "_class_name": "LDMPipeline",
  "_diffusers_version": "0.42.1",
  "scheduler": [
    null,
    null
  ],
  "unet": [
    "diffusers",
    "UNet2DModel"
  ],
  "vqvae": [
    "diffusers",
    "VQModel"
  ]
}
`,
  );
  t.strictSame(await readModelIndex(folder), index);
});

t.test("what is no such pipeline is refused", async (t) => {
  const cases: [index: object, code: string, message: RegExp][] = [
    [PARTS, "ERR_CHECKPOINT_INVALID", /no _class_name/],
    [
      { ...PARTS, _class_name: "StableDiffusionPipeline" },
      "ERR_CONFIG_UNSUPPORTED",
      /Expected "LDMPipeline" for _class_name but received "StableDiffusionPipeline"/,
    ],
    [
      { ...PARTS, _class_name: ["my_pipeline", "LDMPipeline"] },
      "ERR_CONFIG_UNSUPPORTED",
      /received \["my_pipeline","LDMPipeline"\]/,
    ],
    [
      { _class_name: "LDMPipeline", unet: PARTS.unet, vqvae: PARTS.vqvae },
      "ERR_CHECKPOINT_INVALID",
      /it lacks scheduler/,
    ],
    [
      { ...PARTS, _class_name: "LDMPipeline", text_encoder: ["diffusers", "X"] },
      "ERR_CONFIG_UNSUPPORTED",
      /received "text_encoder" besides/,
    ],
    [
      { ...PARTS, _class_name: "LDMPipeline", unet: "UNet2DModel" },
      "ERR_CHECKPOINT_INVALID",
      /Expected \[library, class\] for "unet" but received "UNet2DModel"/,
    ],
    [
      { ...PARTS, _class_name: "LDMPipeline", unet: ["diffusers", null] },
      "ERR_CHECKPOINT_INVALID",
      /Expected \[library, class\] for "unet"/,
    ],
    [
      { ...PARTS, _class_name: "LDMPipeline", unet: ["diffusers", "UNet2DModel", "x"] },
      "ERR_CHECKPOINT_INVALID",
      /Expected \[library, class\] for "unet"/,
    ],
    [
      { ...PARTS, _class_name: "LDMPipeline", unet: ["transformers", "T5"] },
      "ERR_CONFIG_UNSUPPORTED",
      /a class of "diffusers" for "unet" but received "T5" of "transformers"/,
    ],
  ];
  for (const [index, code, message] of cases)
    await t.rejects(readModelIndex(folderWith(t, index)), { code, message }, JSON.stringify(index));
  await t.rejects(readModelIndex(t.testdir({})), {
    code: "ERR_CHECKPOINT_NOT_FOUND",
    message: /model_index\.json does not exist/,
  });
});
