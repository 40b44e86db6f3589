import { execFile } from "node:child_process";
import { readdir, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { raiseIo } from "../../files/atomic-file.js";
import { CommandError } from "../failure.js";
import type { CudaWheel } from "./wheels.js";

/** Where one wheel comes from. */
export type WheelSource = { readonly path: string } | { readonly url: string };

/** Where wheels are looked for. */
export interface SourceOptions {
  /** A folder of wheels, or one wheel. */
  readonly from?: string | undefined;
  /** A package index (PEP 503), or a folder of wheels on a server, or one wheel in it. */
  readonly url?: string | undefined;
  readonly signal: AbortSignal;
  /** Read a page. */
  readonly fetchText: (url: string, accept: string) => Promise<{ url: string; text: string } | undefined>;
  /** Python programs to ask for pip, in order. Default: `python3`, `python`, `py`. */
  readonly pythons?: readonly string[];
}

/**
 * Find each wheel: in `from`, else at `url`, else where pip, which knows the registry that this machine is configured for, would take it.
 * @returns the source of each wheel
 * @throws CommandError `ERR_SOURCE_UNKNOWN` if some wheels are nowhere, listing them and saying what to give
 */
export async function locateWheels(
  wheels: readonly CudaWheel[],
  options: SourceOptions,
): Promise<Map<CudaWheel, WheelSource>> {
  const found = options.from === undefined ? new Map<CudaWheel, WheelSource>() : await findFiles(wheels, options.from);
  const missing = wheels.filter((wheel) => !found.has(wheel));
  if (missing.length === 0) return found;
  const urls =
    options.url === undefined ? await askPip(missing, options) : await findAtUrl(missing, options.url, options);
  for (const wheel of missing) {
    const url = urls?.get(wheel.file);
    if (url !== undefined) found.set(wheel, url.startsWith("file:") ? { path: fileURLToPath(url) } : { url });
  }
  refuseMissing(
    wheels.filter((wheel) => !found.has(wheel)),
    options,
    urls === undefined,
  );
  return found;
}

function refuseMissing(missing: readonly CudaWheel[], { from, url }: SourceOptions, isPipAbsent: boolean): void {
  if (missing.length === 0) return;
  const places = [
    ...(from === undefined ? [] : [`not in ${from}`]),
    url !== undefined ? `not at ${url}` : isPipAbsent ? "there is no Python with pip to ask" : "pip does not find them",
  ];
  const names = missing.map(({ file }) => `\n  ${file}`).join("");
  throw new CommandError(
    "ERR_SOURCE_UNKNOWN",
    `Nobody says where these wheels are (${places.join(", ")}):${names}`,
    "Give `--url` the address of a package index that has them (PyPI's simple index, or a mirror of it), or `--from` the folder in which you saved " +
      "them, for example with `pip download`.",
  );
}

/** By name and size; the hash is checked before a wheel is used. */
async function findFiles(wheels: readonly CudaWheel[], from: string): Promise<Map<CudaWheel, WheelSource>> {
  const fail = raiseIo(`Cannot read ${from}`);
  const isFolder = (await stat(from).catch(fail)).isDirectory();
  const folder = isFolder ? from : dirname(from);
  const names = new Set(isFolder ? await readdir(from).catch(fail) : [basename(from)]);
  const found = wheels.filter(({ file }) => names.has(file));
  return new Map(found.map((wheel) => [wheel, { path: join(folder, wheel.file) }]));
}

/** An index has a page for each project. A server that has none is taken for a folder of wheels. */
async function findAtUrl(
  wheels: readonly CudaWheel[],
  given: string,
  { fetchText }: SourceOptions,
): Promise<Map<string, string>> {
  const base = given.endsWith(".whl") ? new URL(".", given).href : given.replace(/\/*$/, "/");
  const urls = new Map<string, string>();
  for (const { project, file } of wheels) {
    const page = given.endsWith(".whl") ? undefined : await fetchText(new URL(`${project}/`, base).href, ACCEPT);
    const url = page === undefined ? new URL(encodeURIComponent(file), base).href : readIndexPage(page, file);
    if (url !== undefined) urls.set(file, url);
  }
  return urls;
}

const ACCEPT = "application/vnd.pypi.simple.v1+json, text/html;q=0.5";

/**
 * Find a file on a page of a package index, in JSON (PEP 691) or HTML (PEP 503).
 * @returns its address; undefined where the page does not list it
 */
export function readIndexPage(page: { url: string; text: string }, file: string): string | undefined {
  const links = page.text.trimStart().startsWith("{") ? linksOfJson(page.text) : linksOfHtml(page.text);
  const link = links.find((candidate) => decodeName(candidate) === file);
  return link === undefined || !URL.canParse(link, page.url)
    ? undefined
    : new URL(link, page.url).href.replace(/#.*$/, "");
}

function linksOfJson(text: string): readonly string[] {
  try {
    const { files } = JSON.parse(text) as { files?: readonly { url?: unknown }[] };
    return (files ?? []).map(({ url }) => String(url));
  } catch {
    return [];
  }
}

function linksOfHtml(text: string): readonly string[] {
  return [...text.matchAll(/<a\s[^>]*?href\s*=\s*["']([^"']+)["']/gi)].map(([, href = ""]) =>
    href.replaceAll("&amp;", "&"),
  );
}

function decodeName(link: string): string {
  const name =
    link
      .replace(/[?#].*$/s, "")
      .split("/")
      .at(-1) ?? "";
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}

/** How wheels for glibc spell their platform; pip matches each literally. */
const PLATFORMS = [
  ...["manylinux1", "manylinux2010", "manylinux2014"],
  ...[5, 12, 17, 18, 24, 25, 27, 28].map((minor) => `manylinux_2_${minor}`),
].map((name) => `${name}_x86_64`);

/** Resolve without downloading; the report says where each file is. */
async function askPip(wheels: readonly CudaWheel[], options: SourceOptions): Promise<Map<string, string> | undefined> {
  const target = join(tmpdir(), "latent-diffusion-nothing");
  const args = [
    ...["-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-deps", "--quiet", "--report", "-"],
    ...["--disable-pip-version-check", "--only-binary=:all:", "--target", target],
    ...["--python-version", "3.12", "--implementation", "cp", ...PLATFORMS.flatMap((name) => ["--platform", name])],
    // Three signs: a local version such as 2.13.0+cpu does not count as equal.
    ...wheels.map(({ project, version }) => `${project}===${version}`),
  ];
  for (const python of options.pythons ?? ["python3", "python", "py"]) {
    const report = await run(python, args, options.signal);
    if (report !== undefined) return report;
  }
  return undefined;
}

/** @returns undefined where there is no such program, or it has no pip that makes reports (22.2) */
async function run(
  python: string,
  args: readonly string[],
  signal: AbortSignal,
): Promise<Map<string, string> | undefined> {
  const version = await execute(python, ["-m", "pip", "--version"], signal);
  const [, major = 0, minor = 0] = /^pip (\d+)\.(\d+)/.exec(version.stdout)?.map(Number) ?? [];
  if (major * 100 + minor < 2202) return undefined;
  const { stdout, failed } = await execute(python, args, signal);
  if (failed !== undefined)
    throw new CommandError(
      "ERR_SOURCE_UNKNOWN",
      `pip does not find the wheels: ${failed}`,
      "Check pip's own settings (`pip config list`), or give `--url` or `--from`.",
    );
  return readPipReport(stdout);
}

/**
 * Read the addresses of a report of `pip install --report`.
 * @returns by file name
 */
export function readPipReport(report: string): Map<string, string> {
  const { install = [] } = JSON.parse(report) as { install?: readonly { download_info?: { url?: string } }[] };
  const urls = install.flatMap(({ download_info: info }) => (info?.url === undefined ? [] : [info.url]));
  return new Map(urls.map((url) => [decodeName(url), url]));
}

function execute(
  program: string,
  args: readonly string[],
  signal: AbortSignal,
): Promise<{ stdout: string; failed: string | undefined }> {
  return new Promise((resolve) => {
    execFile(program, [...args], { signal, maxBuffer: 64 << 20, windowsHide: true }, (error, stdout, stderr) => {
      const said = stderr.trim().split("\n").slice(-3).join("\n").slice(-600);
      resolve({ stdout, failed: error === null ? undefined : said || error.message });
    });
  });
}
