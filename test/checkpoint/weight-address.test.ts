import { statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { SafetensorsFile } from "../../lib/checkpoint/safetensors.js";
import { Generator, type Tensor } from "../../lib/index.js";
import { ScriptModule } from "../../lib/torch/script-module.js";

/**
 * An address cannot be seen from here; its effect can. MKL rounds a matrix-vector product by the address of the matrix: on AMD always, on
 * Intel with the instructions of SSE4.2 alone. It reads this variable at its first product.
 */
process.env.MKL_ENABLE_INSTRUCTIONS = "SSE4_2";

const SIDE = 24;
const generator = Generator.fromSeed(3);
const matrix = generator.randn([SIDE, SIDE]);
const vector = generator.randn([1, SIDE]);
const spec = {
  name: "Net",
  source: "def forward(self, x):\n    return torch.linear(x, self.w)",
  parameters: [["w", [SIDE, SIDE]]] as const,
  children: [],
};

interface Made {
  readonly product: string;
  readonly savedBytes: number;
}

async function make(
  folder: string,
  weights: ReadonlyMap<string, Tensor> | SafetensorsFile["tensors"],
  options: { dtype?: "float32" | "float64"; optimize: boolean },
): Promise<Made> {
  using module = await ScriptModule.define(spec, weights, { dtype: "float32", ...options });
  const input = options.dtype === "float64" ? await vector.to("float64") : vector;
  const product = (await module.forward(input)) as Tensor;
  const saved = join(folder, "saved.pt");
  await module.save(saved);
  return { product: String(await product.data()), savedBytes: statSync(saved).size };
}

/** A file whose matrix begins at `offset`: the header ends in as many spaces as that takes. */
async function write(folder: string, offset: number): Promise<SafetensorsFile> {
  const values = Buffer.from(new Uint8Array(((await matrix.data()) as Float32Array).buffer));
  const header = JSON.stringify({ w: { dtype: "F32", shape: [SIDE, SIDE], data_offsets: [0, values.length] } });
  const file = Buffer.alloc(offset, " ");
  file.writeBigUInt64LE(BigInt(offset - 8));
  file.write(header, 8);
  const path = join(folder, "w.safetensors");
  writeFileSync(path, Buffer.concat([file, values]));
  return SafetensorsFile.open(path);
}

async function load(folder: string, offset: number, options: Parameters<typeof make>[2]): Promise<Made> {
  using file = await write(folder, offset);
  return await make(folder, file.tensors, options);
}

t.test("eager, a weight of a file has the address modulo 64 that it has where the file is mapped", async (t) => {
  const folder = t.testdir({});
  const aligned = await make(folder, new Map([["w", matrix]]), { optimize: false });
  const products = [];
  for (let place = 0; place < 64; place += 4) {
    const { product, savedBytes } = await load(folder, 256 + place, { optimize: false });
    products.push(product);
    t.equal((await load(folder, 320 + place, { optimize: false })).product, product, `a line further than ${place}`);
    t.equal(savedBytes, aligned.savedBytes, "it is saved as what it is, without what is around it");
  }
  t.equal(products[0], aligned.product, "at a multiple of 64 as in memory");
  if (process.arch === "x64")
    t.ok(new Set(products).size > 1, `${new Set(products).size} roundings for 16 places: there is an effect to see`);
});

t.test("optimised, converted, or across its own alignment, it is as in memory", async (t) => {
  const folder = t.testdir({});
  const inMemory = new Map([["w", matrix]]);
  for (const options of [{ optimize: true }, { optimize: false, dtype: "float64" }] as const) {
    const { product } = await make(folder, inMemory, options);
    for (const place of [4, 20, 36, 60])
      t.equal((await load(folder, 256 + place, options)).product, product, JSON.stringify({ ...options, place }));
  }
  const { product } = await make(folder, inMemory, { optimize: false });
  for (const place of [1, 2, 3, 18, 63])
    t.equal(
      (await load(folder, 256 + place, { optimize: false })).product,
      product,
      `a header of ${256 + place} bytes`,
    );
});
