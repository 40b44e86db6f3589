import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
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

t.test("every code that the sources throw is declared", (t) => {
  const declared = declaredCodes();
  for (const folder of ["lib", "native"]) {
    for (const name of readdirSync(join(PACKAGE_ROOT, folder), { recursive: true, encoding: "utf8" }).filter((file) =>
      /\.(ts|cc|h)$/.test(file),
    )) {
      for (const [, code = ""] of read(join(folder, name)).matchAll(/"(ERR_[A-Z_]+)"/g)) {
        if (!declared.includes(code)) t.fail(`${folder}/${name} names ${code}, which ErrorCode does not`);
      }
    }
  }
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
    for (const [, target = ""] of read(page).matchAll(/\]\((?!https?:)([^)#]+)[^)]*\)/g)) {
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
