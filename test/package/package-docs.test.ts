import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import t from "tap";
import { PACKAGE_ROOT } from "../../lib/native/libtorch.js";

const read = (path: string): string => readFileSync(join(PACKAGE_ROOT, path), "utf8");

/** The members of the union `ErrorCode`, read from its text: types leave nothing behind at run time. */
function declaredCodes(): string[] {
  const union = /export type ErrorCode =([^;]+);/.exec(read("lib/errors.ts"))?.[1] ?? "";
  return [...union.matchAll(/"(ERR_[A-Z_]+)"/g)].map((match) => match[1] ?? "").sort();
}

t.test("every error code is explained, and nothing else is", (t) => {
  const declared = declaredCodes();
  t.ok(declared.length > 10, `${declared.length} codes`);
  const explained = [...read("docs/errors.md").matchAll(/^\| `(ERR_[A-Z_]+)`/gm)].map((match) => match[1]);
  t.strictSame(explained, declared, "docs/errors.md, in alphabetical order");
  const listed = new Set([...read("README.md").matchAll(/`(ERR_[A-Z_]+)`/g)].map((match) => match[1]));
  t.strictSame([...listed].sort(), declared, "README.md");
  t.end();
});

t.test("the sources throw the declared codes and no others", (t) => {
  const declared = declaredCodes();
  const thrown = new Set<string>();
  for (const folder of ["lib", "native"]) {
    const names = readdirSync(join(PACKAGE_ROOT, folder), { recursive: true, encoding: "utf8" });
    for (const name of names.filter(isLibrarySource)) {
      for (const [, code = ""] of read(join(folder, name)).matchAll(/"(ERR_[A-Z_]+)"/g)) thrown.add(code);
    }
  }
  // The classes of these two set their codes in errors.ts.
  t.strictSame([...thrown, "ERR_ABORTED", "ERR_INVALID_ARGUMENT"].sort().filter(isFirst), declared);
  t.end();
});

/** The command line has codes of its own, which docs/cli.md explains. */
function isLibrarySource(name: string): boolean {
  return /\.(ts|cc|h)$/.test(name) && name !== "errors.ts" && !/^cli[\\/]/.test(name);
}

/** For a sorted list: leaves out repetitions. */
function isFirst(value: string, i: number, all: readonly string[]): boolean {
  return all.indexOf(value) === i;
}

t.test("docs/architecture.md shows the rooms of lib that the linter holds", async (t) => {
  const { ROOMS } = (await import(pathToFileURL(join(PACKAGE_ROOT, ".dependency-cruiser.mjs")).href)) as {
    ROOMS: Record<string, string[]>;
  };
  const table = /^\| room of `lib\/` [^]*?\n\n/m.exec(read("docs/architecture.md"))?.[0] ?? "";
  const rows = [...table.matchAll(/^\| `(\w+)` \|[^|]*\|([^|]*)\|$/gm)];
  const shown = Object.fromEntries(
    rows.map(([, room = "", allowed = ""]) => [room, allowed.trim().split(", ").filter(Boolean)]),
  );
  const { errors: _errors, validate: _validate, ...rooms } = ROOMS;
  t.strictSame(shown, rooms);
  t.end();
});

t.test("links between pages lead somewhere", (t) => {
  const pages = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    ...readdirSync(join(PACKAGE_ROOT, "docs")).map((name) => `docs/${name}`),
  ];
  for (const page of pages.filter((name) => name.endsWith(".md"))) {
    const prose = read(page).replace(/^```[^]*?^```/gm, "");
    for (const [, target = ""] of prose.matchAll(/\]\((?!https?:)([^)#]+)[^)]*\)/g)) {
      t.ok(existsSync(join(PACKAGE_ROOT, dirname(page), target)), `${page} links to ${target}`);
    }
  }
  t.end();
});

t.test("the README opens with the two commands", (t) => {
  const commands = [...read("README.md").matchAll(/^npm (run demo|test)\b/gm)].map((match) => match[0]);
  t.strictSame(commands, ["npm run demo", "npm test"]);
  const { scripts } = JSON.parse(read("package.json")) as { scripts: Record<string, string> };
  for (const [, name = ""] of read("CONTRIBUTING.md").matchAll(/^npm run ([\w:]+)/gm))
    t.ok(name in scripts, `npm run ${name} exists`);
  t.end();
});
