import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { type CudaCandidate, cudaVerdict, EXPECTED_ANSWER, forgetVerdict } from "../../lib/native/cuda-trial.js";
import { type CudaCache, findLibTorch, libTorchCandidates } from "../../lib/native/libtorch.js";
import { publishedVersion } from "../../lib/native/packages.js";
import { cudaDriver, type DriverPlaces, userCacheFolder } from "../../lib/native/user-cache.js";

const NAMES = { linux: "libtorch_cpu.so", darwin: "libtorch_cpu.dylib", win32: "torch_cpu.dll" };
const CPU_LIBRARY = NAMES[process.platform as "linux"] ?? NAMES.linux;

/** A cache with a CUDA build that is one only by its looks. */
function fakeCache(t: Test, library = "no library", version = publishedVersion()): string {
  return t.testdir({ torch: { "version.py": `__version__ = '${version}'\n`, lib: { [CPU_LIBRARY]: library } } });
}

/** A program that stands for cuda-probe.js. */
const program = (source: string): readonly string[] => [process.execPath, "-e", source];
const answers = (answer: unknown): readonly string[] =>
  program(`console.log(${JSON.stringify(JSON.stringify(answer))})`);

const OUTCOMES: readonly (readonly [what: string, program: readonly string[], reason: RegExp])[] = [
  ["crashes", program("process.kill(process.pid, 'SIGKILL'); setInterval(() => {}, 1000)"), /ended by SIGKILL/],
  ["ends early", program("console.error('cannot go on'); process.exit(7)"), /ended with 7 \(cannot go on\)/],
  ["hangs", program("setInterval(() => {}, 1000)"), /did not answer within 1 s/],
  ["says nonsense", program("console.log('hello')"), /ended with 0/],
  ["reports an error", answers({ devices: 0, error: "libcudart.so.13: no such file" }), /^libcudart/],
  ["finds no device", answers({ devices: 0 }), /finds no CUDA device/],
  [
    "computes wrong",
    answers({ devices: 1, answer: [37, 40, 45, 53] }),
    /computes 37, 40, 45, 53 instead of 37, 40, 45, 52/,
  ],
  ["cannot be started", ["/nowhere/node"], /could not be started/],
];

t.test(
  "a CUDA build that does not work gives a verdict, and the CPU build is taken",
  { skip: process.platform === "win32" },
  (t) => {
    for (const [what, run, reason] of OUTCOMES) {
      const folder = fakeCache(t);
      const cudaCache: CudaCache = { driver: "580.1", folder, cache: join(folder, what), program: run, timeout: 1000 };
      const candidates = libTorchCandidates(undefined, cudaCache);
      const cuda = candidates.find(({ source }) => source === "the CUDA cache");
      t.match(cuda, { verdict: reason, chosen: false, version: publishedVersion() }, `${what}: ${cuda?.verdict}`);
      t.not(findLibTorch(undefined, cudaCache).source, "the CUDA cache", what);
      t.equal(candidates.filter(({ chosen }) => chosen).length, 1, "another one is chosen");
    }
    t.end();
  },
);

t.test("a library that aborts as it is opened ends the child alone", (t) => {
  const folder = fakeCache(t);
  const source = join(folder, "abort.cc");
  writeFileSync(source, "#include <cstdlib>\n__attribute__((constructor)) static void End() { std::abort(); }\n");
  const library = join(folder, "torch", "lib", CPU_LIBRARY);
  const compiled =
    process.platform === "linux" && spawnSync("c++", ["-shared", "-fPIC", "-o", library, source]).status === 0;
  if (compiled) {
    const cudaCache: CudaCache = { driver: "580.1", folder, cache: join(folder, "cache") };
    const found = libTorchCandidates(undefined, cudaCache).find(({ source }) => source === "the CUDA cache");
    t.match(found?.verdict, /the process that tried it was ended by SIGABRT/);
  } else t.pass("there is no C++ compiler here");
  t.end();
});

t.test("a library that does not open says why", { skip: process.platform !== "linux" }, (t) => {
  const folder = fakeCache(t, "not an ELF file");
  const cudaCache: CudaCache = { driver: "580.1", folder, cache: join(folder, "cache") };
  const found = libTorchCandidates(undefined, cudaCache).find(({ source }) => source === "the CUDA cache");
  t.match(found?.verdict, /libtorch_cpu\.so: (file too short|invalid ELF header)/);
  t.end();
});

t.test("a CUDA build that works is chosen before the CPU builds, and what is named goes before it", (t) => {
  const folder = fakeCache(t);
  const cudaCache: CudaCache = {
    driver: "580.1",
    folder,
    cache: join(folder, "cache"),
    program: answers({ devices: 2, answer: EXPECTED_ANSWER }),
  };
  const found = findLibTorch(undefined, cudaCache);
  t.match(found, { source: "the CUDA cache", path: join(folder, "torch"), version: publishedVersion() });
  const chosen = libTorchCandidates(undefined, cudaCache).filter((candidate) => candidate.chosen);
  t.strictSame(
    chosen.map(({ source }) => source),
    ["the CUDA cache"],
  );
  t.throws(() => findLibTorch("/nowhere", cudaCache), { code: "ERR_LIBTORCH_NOT_FOUND" });
  t.end();
});

t.test("without a driver, and in another version, nothing is tried", (t) => {
  const folder = fakeCache(t);
  const cudaCache = { driver: undefined, folder, cache: join(folder, "cache"), program: ["/nowhere/node"] };
  t.match(libTorchCandidates(undefined, cudaCache)[2], { source: "the CUDA cache", verdict: "not set" });
  const old = fakeCache(t, "no library", "2.12.0");
  t.match(libTorchCandidates(undefined, { ...cudaCache, driver: "580.1", folder: old })[2], {
    verdict: /it is version 2\.12\.0/,
    chosen: false,
  });
  t.notOk(existsSync(join(folder, "cache")));
  t.end();
});

t.test("a verdict is kept by path, version and driver; the child runs once for each", (t) => {
  const folder = t.testdir({});
  const log = join(folder, "log");
  const count = (): number => (existsSync(log) ? readFileSync(log, "utf8").length : 0);
  const run = program(
    `require("fs").appendFileSync(${JSON.stringify(log)}, "x"); console.log('{"devices":1,"answer":${JSON.stringify(EXPECTED_ANSWER)}}')`,
  );
  const options = { cache: join(folder, "cache"), program: run };
  const candidate: CudaCandidate = { path: "/a", version: "2.13.0", driver: "580.1" };
  for (let time = 0; time < 3; time++) t.match(cudaVerdict(candidate, options), { usable: true });
  t.equal(count(), 1);
  cudaVerdict({ ...candidate, driver: "580.2" }, options);
  cudaVerdict({ ...candidate, path: "/b" }, options);
  cudaVerdict({ ...candidate, version: "2.14.0" }, options);
  t.equal(count(), 4);
  forgetVerdict(candidate, options.cache);
  cudaVerdict(candidate, options);
  t.equal(count(), 5);
  const verdicts = join(options.cache, "verdicts");
  for (const name of readdirSync(verdicts)) writeFileSync(join(verdicts, name), "{");
  cudaVerdict(candidate, options);
  t.equal(count(), 6, "a damaged verdict is none");
  // A file stands where the folder should be.
  writeFileSync(join(folder, "blocked"), "");
  t.match(
    cudaVerdict(candidate, { ...options, cache: join(folder, "blocked") }),
    { usable: true },
    "nothing can be kept",
  );
  t.end();
});

t.test("the driver is told from files", (t) => {
  const folder = t.testdir({
    version: "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build  (root)\n",
    device: "",
    libraries: { "libcuda.so": "", "libcuda.so.1": "", "libcuda.so.570.10.01": "" },
    unversioned: { "libcuda.so.1": "abc" },
  });
  const places = (given: Partial<DriverPlaces>): DriverPlaces => ({
    versionFile: join(folder, "none"),
    devices: [join(folder, "device")],
    libraryFolders: [join(folder, "nowhere")],
    library: "libcuda.so",
    ...given,
  });
  t.equal(cudaDriver(places({ versionFile: join(folder, "version") })), "580.95.05");
  t.equal(cudaDriver(places({ libraryFolders: [join(folder, "libraries")] })), "570.10.01");
  t.match(cudaDriver(places({ libraryFolders: [join(folder, "unversioned")] })), /^libcuda\.so\.1 of 3 bytes, 20/);
  t.equal(cudaDriver(places({})), undefined, "a device without a library");
  const absent = places({ devices: [join(folder, "none")], libraryFolders: [join(folder, "libraries")] });
  t.equal(cudaDriver(absent), undefined, "a library without a device");
  t.end();
});

t.test("the user's cache follows the environment", { skip: process.platform !== "linux" }, (t) => {
  t.equal(userCacheFolder({ LATENT_DIFFUSION_CACHE: "/data/cache" }), "/data/cache");
  t.equal(userCacheFolder({ XDG_CACHE_HOME: "/xdg" }), "/xdg/latent-diffusion");
  t.match(userCacheFolder({}), /\.cache\/latent-diffusion$/);
  t.end();
});
