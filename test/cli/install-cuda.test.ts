import { createHash } from "node:crypto";
import { chmodSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { deflateRawSync } from "node:zlib";
import t, { type Test } from "tap";
import { installCuda, type InstallOptions, refuseFullDisk } from "../../lib/cli/cuda/install-cuda.js";
import { readIndexPage } from "../../lib/cli/cuda/sources.js";
import { isKept } from "../../lib/cli/cuda/unpack.js";
import { CUDA_BUILDS, type CudaBuild, type CudaWheel } from "../../lib/cli/cuda/wheels.js";
import { publishedVersion } from "../../lib/native/packages.js";
import { writeZip } from "../support/zip-writer.js";

/** Bytes that do not compress, so that a wheel arrives in several pieces. */
const noise = (length: number): Buffer => {
  const bytes = Buffer.alloc(length);
  for (let i = 0, state = 1; i < length; i++) bytes[i] = (state = (state * 48271) % 2147483647) & 255;
  return bytes;
};

/** An archive whose records are deflated, as those of wheels are. */
function makeZip(files: Readonly<Record<string, string | Buffer>>): Buffer {
  return writeZip(
    Object.entries(files).map(([name, content]) => {
      const data = deflateRawSync(content);
      return { name, data, fields: { method: 8, size: Buffer.from(content).length } };
    }),
  );
}

const LIBRARY = noise(300_000);
const FILES = {
  "torch-2.13.0-cp312-cp312-manylinux_2_28_x86_64.whl": makeZip({
    "torch/version.py": "__version__ = '2.13.0+cu130'\n",
    "torch/lib/libtorch_cpu.so": LIBRARY,
    "torch/lib/libgomp.so.1": "",
    "torch/lib/libtorch_python.so": "for Python",
    "torch/nn/__init__.py": "for Python",
    "torch-2.13.0.dist-info/licenses/LICENSE": "a licence",
  }),
  "nvidia_cudnn_cu13-9.20.0.48-py3-none-manylinux_2_27_x86_64.whl": makeZip({
    "nvidia/cudnn/lib/libcudnn.so.9": "cudnn",
    "nvidia/cudnn/include/cudnn.h": "a header",
  }),
};

function wheelOf(file: string, bytes: Buffer): CudaWheel {
  const [project = "", version = ""] = file.split("-").map((part) => part.replaceAll("_", "-"));
  return { project, version, file, bytes: bytes.length, sha256: createHash("sha256").update(bytes).digest("hex") };
}

const BUILD: CudaBuild = {
  version: "2.13.0",
  unpackedBytes: 300_100,
  wheels: Object.entries(FILES).map(([file, bytes]) => wheelOf(file, bytes)),
};

type Answer = (request: IncomingMessage, response: ServerResponse, bytes: Buffer) => void;

/** Serve a folder of wheels, with ranges. */
function sendFile({ headers }: IncomingMessage, response: ServerResponse, bytes: Buffer): void {
  const start = Number(/^bytes=(\d+)-$/.exec(headers.range ?? "")?.[1] ?? 0);
  const rest = bytes.subarray(start);
  const range = start > 0 ? { "content-range": `bytes ${start}-${bytes.length - 1}/${bytes.length}` } : {};
  response.writeHead(start > 0 ? 206 : 200, { "content-length": rest.length, ...range }).end(rest);
}

interface Mirror {
  readonly url: string;
  /** `"<path> <range>"` of each request for a wheel. */
  readonly asked: string[];
}

async function serve(
  t: Test,
  { answer = sendFile, index }: { answer?: Answer; index?: "json" | "html" } = {},
): Promise<Mirror> {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    const path = request.url ?? "";
    const [, project] = /^\/simple\/([\w-]+)\/$/.exec(path) ?? [];
    const wheel = BUILD.wheels.find((known) => known.project === project);
    if (index === "json" && wheel) {
      const files = [{ filename: wheel.file, url: `/files/${wheel.file}#sha256=${wheel.sha256}` }];
      return response.setHeader("content-type", "application/json").end(JSON.stringify({ files }));
    }
    if (index === "html" && wheel)
      return response.end(
        `<html><a class="x" href="../../files/${wheel.file}#sha256=1&amp;a">${wheel.file}</a></html>`,
      );
    const bytes = Object.entries(FILES).find(([file]) => path.endsWith(`/${file}`))?.[1];
    if (bytes === undefined) return response.writeHead(404).end("no");
    asked.push(`${path.split("/").at(-1)} ${request.headers.range ?? "whole"}`);
    return answer(request, response, bytes);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/simple/`, asked };
}

function options(cache: string, given: Partial<InstallOptions>): InstallOptions {
  const folder = join(cache, "cache", "libtorch-cuda");
  return { folder, signal: new AbortController().signal, pythons: [], retryDelay: 1, ...given };
}

function checkInstalled(t: Test, folder: string): void {
  t.strictSame(readdirSync(folder).sort(), ["nvidia", "torch", "torch-2.13.0.dist-info"]);
  t.strictSame(readdirSync(join(folder, "torch")).sort(), ["lib", "version.py"]);
  t.strictSame(readdirSync(join(folder, "torch", "lib")).sort(), ["libgomp.so.1", "libtorch_cpu.so"]);
  t.ok(readFileSync(join(folder, "torch/lib/libtorch_cpu.so")).equals(LIBRARY), "the library is whole");
  t.strictSame(readdirSync(join(folder, "nvidia", "cudnn")), ["lib"]);
  const beside = readdirSync(join(folder, "..")).filter((name) => !name.endsWith(".lock"));
  t.strictSame(beside, ["libtorch-cuda"], "downloads and unfinished folders are gone");
}

for (const index of ["json", "html", undefined] as const) {
  t.test(`install from ${index === undefined ? "a folder on a server" : `an index in ${index}`}`, async (t) => {
    const { url, asked } = await serve(t, index === undefined ? {} : { index });
    const stages: string[] = [];
    let received = 0;
    const given = options(t.testdir({}), {
      url,
      onStage: (stage) => stages.push(stage),
      onBytes: (count) => (received += count),
    });
    t.equal(await installCuda(BUILD, given), true);
    checkInstalled(t, given.folder);
    t.strictSame(stages, ["download", "unpack"]);
    t.ok(received > 600_000, "bytes of both stages are told");
    t.equal(asked.length, 2);
    t.equal(await installCuda(BUILD, given), false, "it is there already");
    t.equal(asked.length, 2);
  });
}

t.test("install beside one wheel's own address", async (t) => {
  const { url } = await serve(t);
  const given = options(t.testdir({}), { url: `${url}${BUILD.wheels[0]?.file}` });
  await installCuda(BUILD, given);
  checkInstalled(t, given.folder);
});

t.test("a connection that breaks is continued where it broke", async (t) => {
  let broken = 0;
  const { url, asked } = await serve(t, {
    answer: (request, response, bytes) => {
      if (bytes.length < 100_000 || broken++ > 1) return sendFile(request, response, bytes);
      const start = Number(/\d+/.exec(request.headers.range ?? "")?.[0] ?? 0);
      const status = start > 0 ? 206 : 200;
      response.writeHead(status, { "content-range": `bytes ${start}-${bytes.length - 1}/${bytes.length}` });
      response.write(bytes.subarray(start, start + 100_000), () => response.destroy());
    },
  });
  const given = options(t.testdir({}), { url });
  await installCuda(BUILD, given);
  checkInstalled(t, given.folder);
  const ranges = asked.filter((line) => line.startsWith("torch")).map((line) => line.split(" ").at(-1));
  t.equal(ranges[0], "whole");
  t.match(ranges[1], /^bytes=[1-9]\d*-$/);
});

t.test("what has come before an interruption is kept for the next run", async (t) => {
  const interrupted = new AbortController();
  let held = true;
  const { url, asked } = await serve(t, {
    answer: (request, response, bytes) => {
      if (!held) return sendFile(request, response, bytes);
      response.writeHead(200);
      response.write(bytes.subarray(0, 50_000));
    },
  });
  const onBytes = (): void => interrupted.abort();
  const given = options(t.testdir({}), { url });
  await t.rejects(installCuda(BUILD, { ...given, onBytes, signal: interrupted.signal }), { code: "ERR_ABORTED" });
  t.notOk(existsSync(given.folder));
  const [left = ""] = readdirSync(join(given.folder, "../downloads"));
  const { size } = statSync(join(given.folder, "../downloads", left));
  t.ok(size > 0, `${left} has ${size} bytes`);
  held = false;
  await installCuda(BUILD, given);
  checkInstalled(t, given.folder);
  t.equal(asked[1], `${BUILD.wheels[0]?.file} bytes=${size}-`);
});

t.test("bytes with another hash are refused and removed", async (t) => {
  const { url } = await serve(t, {
    answer: (request, response, bytes) => sendFile(request, response, Buffer.from(bytes.map((byte) => byte ^ 1))),
  });
  const given = options(t.testdir({}), { url });
  await t.rejects(installCuda(BUILD, given), { code: "ERR_DOWNLOAD_FAILED", message: /do not have the hash/ });
  t.notOk(existsSync(given.folder));
  t.strictSame(readdirSync(join(given.folder, "../downloads")), []);
});

t.test("more bytes than the wheel has, and a server that refuses", async (t) => {
  const longer = await serve(t, { answer: (_, response, bytes) => response.end(Buffer.concat([bytes, bytes])) });
  await t.rejects(installCuda(BUILD, options(t.testdir({}), { url: longer.url })), {
    message: /more than its \d+ bytes/,
  });
  const refusing = await serve(t, { answer: (_, response) => response.writeHead(403).end() });
  await t.rejects(installCuda(BUILD, options(t.testdir({}), { url: refusing.url })), { message: /answered 403/ });
});

t.test("install from a folder, without a network", async (t) => {
  const from = t.testdir(FILES);
  const given = options(from, { from });
  await installCuda(BUILD, given);
  checkInstalled(t, given.folder);
  t.ok(existsSync(join(from, BUILD.wheels[0]?.file ?? "")), "the user's own files stay");
  const [torch = ""] = Object.keys(FILES);
  writeFileSync(join(from, torch), Buffer.concat([noise(10), FILES[torch as keyof typeof FILES].subarray(10)]));
  const other = { ...given, folder: join(from, "other", "libtorch-cuda") };
  await t.rejects(installCuda(BUILD, other), {
    code: "ERR_DOWNLOAD_FAILED",
    message: /is not the wheel that it is called/,
  });
  t.notOk(existsSync(other.folder));
});

t.test("what is missing in the folder comes from the address; without one, the error lists it", async (t) => {
  const [torch = "", cudnn = ""] = Object.keys(FILES);
  const folder = t.testdir({ [torch]: FILES[torch as keyof typeof FILES] });
  const from = join(folder, torch);
  const { url, asked } = await serve(t);
  const given = options(folder, { from });
  await t.rejects(installCuda(BUILD, given), {
    code: "ERR_SOURCE_UNKNOWN",
    message: new RegExp(`not in .*, there is no Python with pip to ask\\):\\n  ${cudnn}$`),
    advice: /--url/,
  });
  await installCuda(BUILD, { ...given, url });
  checkInstalled(t, given.folder);
  t.strictSame(asked, [`${cudnn} whole`]);
  await t.rejects(installCuda(BUILD, options(join(folder, "other"), { from: join(folder, "nowhere") })), {
    code: "ERR_IO",
  });
});

t.test("pip says where the wheels are", { skip: process.platform === "win32" }, async (t) => {
  const { url } = await serve(t);
  const folder = t.testdir({});
  const install = BUILD.wheels.map(({ file }) => ({ download_info: { url: new URL(file, url).href } }));
  const python = (name: string, source: string): string => {
    const file = join(folder, name);
    writeFileSync(file, `#!/bin/sh\ncase "$*" in *--version*) echo "pip 26.1 from somewhere";; *) ${source};; esac\n`);
    chmodSync(file, 0o755);
    return file;
  };
  const works = python("works", `echo '${JSON.stringify({ install })}'`);
  const given = options(folder, {});
  await installCuda(BUILD, { ...given, pythons: [join(folder, "absent"), works] });
  checkInstalled(t, given.folder);
  const fails = python("fails", "echo 'ERROR: No matching distribution' >&2; exit 1");
  await t.rejects(installCuda(BUILD, { ...options(join(folder, "other"), {}), pythons: [fails] }), {
    code: "ERR_SOURCE_UNKNOWN",
    message: /No matching distribution/,
  });
});

t.test("of two that install at once, one does the work", async (t) => {
  const { url, asked } = await serve(t);
  const given = options(t.testdir({}), { url });
  const done = await Promise.all([installCuda(BUILD, given), installCuda(BUILD, given)]);
  t.strictSame(done.sort(), [false, true]);
  t.equal(asked.length, 2);
  checkInstalled(t, given.folder);
});

t.test("a wheel that is no zip archive, with the right hash", async (t) => {
  const file = "torch-2.13.0-none.whl";
  const from = t.testdir({ [file]: "no archive" });
  const build = { ...BUILD, wheels: [wheelOf(file, Buffer.from("no archive"))] };
  const given = options(from, { from });
  await t.rejects(installCuda(build, given), { code: "ERR_DOWNLOAD_FAILED", message: /cannot be unpacked/ });
  t.strictSame(
    readdirSync(join(from, "cache")).filter((name) => name.startsWith("libtorch-cuda.p")),
    [],
  );
});

t.test("a disk that is too small is refused beforehand", async (t) => {
  const ask = (): Promise<{ bavail: number; bsize: number }> => Promise.resolve({ bavail: 10, bsize: 4096 });
  await t.rejects(refuseFullDisk("/cache", 40_961, ask), {
    code: "ERR_DISK_FULL",
    message: /needs 41\.0 kB .* 41\.0 kB are free/,
  });
  await refuseFullDisk("/cache", 40_960, ask);
});

t.test("only libraries, the version and licences are kept", (t) => {
  const kept = [
    "torch/version.py",
    "torch/lib/libc10.so",
    "nvidia/cu13/lib/libcudart.so.13",
    "nvidia_x.dist-info/License.txt",
  ];
  for (const name of kept) t.ok(isKept(name), name);
  const dropped = [
    "torch/lib/../../x.so",
    "/torch/lib/x.so",
    "torch/lib/libtorch_python.so",
    "torch/include/x.h",
    "triton/lib/x.so",
  ];
  for (const name of dropped) t.notOk(isKept(name), name);
  t.end();
});

t.test("pages of an index", (t) => {
  const page = (text: string) => ({ url: "http://127.0.0.1/simple/torch/", text });
  t.equal(readIndexPage(page(`<a href='a%2Bb.whl#sha256=1'>`), "a+b.whl"), "http://127.0.0.1/simple/torch/a%2Bb.whl");
  t.equal(readIndexPage(page(`<a href="b.whl">`), "a.whl"), undefined);
  t.equal(readIndexPage(page("{"), "a.whl"), undefined);
  t.equal(readIndexPage(page(`{"files":[{"url":"http://[bad/a.whl"}]}`), "a.whl"), undefined);
  t.end();
});

t.test("the table is of the version that the addon is built against", (t) => {
  for (const { version, wheels } of Object.values(CUDA_BUILDS)) {
    t.equal(version, publishedVersion());
    t.equal(new Set(wheels.map(({ project }) => project)).size, wheels.length);
    for (const { project, version, file, sha256, bytes } of wheels) {
      t.ok(file.startsWith(`${project.replaceAll("-", "_")}-${version}-`), file);
      t.match(sha256, /^[0-9a-f]{64}$/);
      t.ok(bytes > 0);
    }
  }
  t.end();
});
