import { execFile } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import t, { type Test } from "tap";
import { Generator, LDMPipeline, runtimeInfo, type Tensor } from "../../lib/index.js";

interface CaseResult {
  readonly name: string;
  readonly capability: string;
  /** Largest error of float32 optimised against not optimised, relative to the largest magnitude. */
  readonly error: number;
  /** The same of bfloat16, optimised and not, against float32 not optimised. */
  readonly bfloat16: number;
  readonly stockBFloat16: number;
  /** Which of our own operators ran, optimised. */
  readonly operators: { readonly float32: readonly string[]; readonly bfloat16: readonly string[] };
  /** A digest of all that was computed in float32, optimised. */
  readonly bits: string;
}

/** What no rounding of these small networks exceeds; whole networks are held to 1e-4. */
const TOLERANCE = 2e-5;
const SETS = ["default", "avx2", "avx512"];
const CONVOLUTIONS = [
  "4 x 4 tiles",
  "4 x 4 tiles, many channels",
  "4 x 4 tiles, odd channels",
  "4 x 4 tiles, as traced",
  "2 x 2 tiles",
  "two methods with the same weights",
  "no batch",
];
const ATTENTION = [
  "attention",
  "attention, one long head",
  "attention, short vectors",
  "attention, a given scale",
  "attention, fewer keys than queries",
];
const KEPT = ["too small to gain", "too few channels", "weights of another dtype", "attention, causal"];
const DIRECT = ["few pixels", "few pixels, as traced"];
const NORMS = [
  "group norm",
  "group norm, SiLU",
  "group norm, used twice",
  "group norm, far from 0",
  "group norm, three dimensions",
];
/** What each pass puts in, and the cases that are for it; the others' graphs hold nothing for a pass. */
const PASSES = [
  { pass: "winograd", operator: "winograd_conv2d", cases: CONVOLUTIONS },
  { pass: "direct", operator: "direct_conv2d", cases: DIRECT },
  { pass: "group-norm", operator: "group_norm", cases: NORMS },
  { pass: "attention", operator: "attention", cases: ATTENTION },
];

interface SearchResult {
  readonly name: string;
  readonly capability: string;
  /** Rows whose code is not the nearest, or not what stock operators find where that is what matters. */
  readonly wrong: number;
  readonly stockWrong: number;
}

interface ProductResult {
  readonly name: string;
  readonly dtype: string;
  readonly capability: string;
  /** What went wrong: values, shapes, bits, or which operators ran. */
  readonly faults: readonly string[];
}

async function runCases(environment: NodeJS.ProcessEnv): Promise<CaseResult[]> {
  return runScript<CaseResult>("cases.cjs", environment);
}

async function runScript<Result>(
  script: string,
  environment: NodeJS.ProcessEnv,
  ...args: readonly string[]
): Promise<Result[]> {
  const inherited = Object.entries(process.env).filter(
    ([name]) => !/^(NODE_OPTIONS|TAP|_TAPJS|ATEN_CPU|ONEDNN_MAX)/.test(name),
  );
  const env = { ...Object.fromEntries(inherited), ...environment };
  const { stdout } = await promisify(execFile)(process.execPath, [join(__dirname, script), ...args], {
    env,
    timeout: 240_000,
  });
  return stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Result);
}

/** The sets up to the machine's own. */
function availableSets(): string[] {
  const own = SETS.indexOf(runtimeInfo().cpuCapability.toLowerCase());
  return own < 0 ? ["default"] : SETS.slice(0, own + 1);
}

/** LibTorch's own bfloat16 attention asks oneDNN for AMX's layouts and then refuses them, if only ATen is told of less. */
function environmentOf(set: string): NodeJS.ProcessEnv {
  return { ATEN_CPU_CAPABILITY: set, ...(set === "avx512" ? {} : { ONEDNN_MAX_CPU_ISA: "AVX2" }) };
}

/** So that the vectors' kernels are tried on a CPU that has better ones. */
const WITHOUT_AMX = { LATENT_DIFFUSION_WITHOUT_AMX: "1" };
const AMX_TOO = availableSets().flatMap((set) =>
  set === "avx512"
    ? [
        { set, environment: {} },
        { set, environment: WITHOUT_AMX },
      ]
    : [{ set, environment: {} }],
);

// Each test waits for processes of its own, which leave a core free now and then: two at a time.
t.jobs = 2;
const PARALLEL = { buffered: true };

for (const { set, environment } of AMX_TOO) {
  t.test(
    `results equal those of stock operators with the kernels for ${set}${environment === WITHOUT_AMX ? ", without AMX" : ""}`,
    PARALLEL,
    async (t) => {
      const results = await runCases({ ...environmentOf(set), ...environment });
      t.ok(results.length >= 21, `${results.length} cases`);
      for (const { name, capability, error, bfloat16, stockBFloat16 } of results) {
        t.equal(capability.toLowerCase().replace("no avx", "default"), set);
        t.ok(error < TOLERANCE, `${name}: float32 ${error}`);
        t.ok(bfloat16 < 2 * stockBFloat16 + 1e-3, `${name}: bfloat16 ${bfloat16}, of stock operators ${stockBFloat16}`);
      }
    },
  );
}

/** Whether this CPU has AMX, and the addon kernels for it; not asked of the addon, which is what the tests are about. */
function expectsAmx(): boolean {
  const [processor, cache] = ["/proc/cpuinfo", join(__dirname, "..", "..", "build", "CMakeCache.txt")].map((path) =>
    existsSync(path) ? readFileSync(path, "utf8") : "",
  );
  return (
    availableSets().includes("avx512") &&
    /\bamx_bf16\b/.test(processor ?? "") &&
    /^HAVE_AMX:INTERNAL=1$/m.test(cache ?? "")
  );
}

async function checkProducts(
  t: Test,
  way: "amx" | "vectors",
  set: string,
  environment: NodeJS.ProcessEnv = {},
): Promise<void> {
  const results = await runScript<ProductResult>("products.cjs", { ...environmentOf(set), ...environment }, way);
  t.ok(results.length >= 202, `${results.length} cases`);
  for (const { name, dtype, capability, faults } of results) {
    t.equal(capability.toLowerCase().replace("no avx", "default"), set);
    t.strictSame(faults, [], `${name}, ${dtype}`);
  }
}

t.test(
  "convolutions and linear layers by AMX, with what is fused into them",
  { ...PARALLEL, skip: !expectsAmx() && "no AMX here" },
  async (t) => {
    await checkProducts(t, "amx", "avx512");
  },
);

t.test(
  "LATENT_DIFFUSION_WITHOUT_AMX leaves AMX out for 1, not for 0",
  { ...PARALLEL, skip: !expectsAmx() && "no AMX here" },
  async (t) => {
    for (const [value, way] of [
      ["1", "vectors"],
      ["0", "amx"],
      ["", "amx"],
    ] as const) {
      const environment = { LATENT_DIFFUSION_WITHOUT_AMX: value };
      const results = await runScript<ProductResult>("products.cjs", environment, way, "^add$");
      t.strictSame(
        results.map(({ dtype, faults }) => [dtype, faults]),
        ["float32", "bfloat16"].map((dtype) => [dtype, []]),
        `"${value}" means ${way}`,
      );
    }
  },
);

for (const set of availableSets()) {
  t.test(`convolutions with what is fused into them, with the kernels for ${set}`, PARALLEL, async (t) => {
    await checkProducts(t, "vectors", set, WITHOUT_AMX);
  });
}

for (const set of availableSets()) {
  t.test(`the nearest codes are found with the kernels for ${set}`, PARALLEL, async (t) => {
    const results = await runScript<SearchResult>("nearest-codes.cjs", environmentOf(set));
    t.ok(results.length >= 11, `${results.length} cases`);
    for (const { name, capability, wrong } of results) {
      t.equal(capability.toLowerCase().replace("no avx", "default"), set);
      t.equal(wrong, 0, name);
    }
    // Which tells that the kernel was taken.
    t.ok(results.filter(({ stockWrong }) => stockWrong > 0).length >= 4, "stock operators lose differences");
  });
}

t.test("each pass rewrites what it is for, and can be switched off alone", PARALLEL, async (t) => {
  // AMX takes convolutions before the others can, where there is AMX. Left out, it leaves bfloat16 to LibTorch, which has AMX too.
  const only = (own: string | null): Promise<CaseResult[]> => {
    const off = ["amx", ...PASSES.map(({ pass }) => pass).filter((pass) => pass !== own)];
    return runCases({ ...WITHOUT_AMX, LATENT_DIFFUSION_WITHOUT_PASSES: off.join(",") });
  };
  const stock = await only(null);
  const known = [...KEPT, ...PASSES.flatMap(({ cases }) => cases)];
  t.strictSame(stock.map(({ name }) => name).sort(), known.sort(), "every case says which pass it is for");
  for (const { name, operators } of stock) t.strictSame(operators, { float32: [], bfloat16: [] }, `no pass: ${name}`);
  for (const { pass, operator, cases } of PASSES) {
    for (const { name, operators } of await only(pass)) {
      const expected = cases.includes(name) ? [operator] : [];
      t.strictSame(operators, { float32: expected, bfloat16: expected }, `${pass} alone: ${name}`);
    }
  }
});

t.test("attention does not depend on the number of threads", PARALLEL, async (t) => {
  const bits = async (threads: string): Promise<string[]> =>
    (await runCases({ OMP_NUM_THREADS: threads }))
      .filter(({ name }) => ATTENTION.includes(name))
      .map((result) => result.bits);
  const alone = await bits("1");
  t.equal(alone.length, ATTENTION.length);
  t.same(await bits("2"), alone);
  t.same(await bits("3"), alone);
});

/** A few steps from the noise of a seed, and the picture of `latents` or else of those. */
async function runDemo(
  optimize: boolean,
  seed: number,
  latents?: Tensor,
): Promise<readonly [latents: Tensor, picture: Tensor]> {
  const pipe = await LDMPipeline.fromPretrained(join(__dirname, "..", "..", "models", "demo"), { optimize });
  let made = await Generator.fromSeed(seed).randn([2, 3, 16, 16]).to(pipe.dtype);
  pipe.scheduler.setTimesteps(5);
  for (const timestep of pipe.scheduler.timesteps) {
    const { sample } = await pipe.unet.forward(made, timestep);
    made = pipe.scheduler.step(sample, timestep, made).prevSample;
  }
  // Where a code flips, a picture is another: what is compared is decoded from the same latents.
  const { sample } = await pipe.vqvae.decode(latents ?? made);
  pipe.dispose();
  return [made, sample];
}

t.test("steps of the trained demo model stay within 1e-3 of stock operators'", async (t) => {
  const [latents, picture] = await runDemo(false, 1);
  const [ownLatents, ownPicture] = await runDemo(true, 1, latents);
  for (const [name, own, stock] of [
    ["latents", ownLatents, latents],
    ["picture", ownPicture, picture],
  ] as const) {
    const [values, expected] = [(await own.data()) as Float32Array, (await stock.data()) as Float32Array];
    const largest = values.reduce((most, value, i) => Math.max(most, Math.abs(value - (expected[i] ?? NaN))), 0);
    t.equal(values.length, expected.length, name);
    t.ok(largest > 0 && largest < 1e-3, `${name} differ by at most ${largest}`);
  }
});
