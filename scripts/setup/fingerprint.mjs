import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { inProject, projectRoot } from "./paths.mjs";

/**
 * Hash files and folders by name and content, with whatever else a product depends on.
 * @param {readonly string[]} sources paths in the project; what is not there counts as not there
 * @param {readonly string[]} facts versions, options
 * @returns {string} hexadecimal SHA-256
 */
export function fingerprint(sources, facts) {
  const hash = createHash("sha256").update(JSON.stringify(facts));
  for (const file of sources.flatMap((source) => listFiles(inProject(source)))) {
    const content = readFileSync(file);
    hash.update(`${relative(projectRoot, file)}\0${content.length}\0`).update(content);
  }
  return hash.digest("hex");
}

function listFiles(path) {
  if (!existsSync(path)) return [];
  if (!statSync(path).isDirectory()) return [path];
  return readdirSync(path)
    .sort()
    .flatMap((name) => listFiles(join(path, name)));
}

/**
 * Tell whether a product was made of what is there now.
 * @param {string} product its name
 * @param {string} hash
 */
export function isFresh(product, hash) {
  const stamp = stampOf(product);
  return existsSync(stamp) && readFileSync(stamp, "utf8") === hash;
}

/** Remember what a product was made of. */
export function remember(product, hash) {
  const stamp = stampOf(product);
  mkdirSync(dirname(stamp), { recursive: true });
  writeFileSync(stamp, hash);
}

function stampOf(product) {
  return inProject(`build/${product}.sha256`);
}
