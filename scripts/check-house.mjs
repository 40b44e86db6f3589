// What no stock linter checks: which room of native/ may include which (docs/architecture.md), and how files of lib/ are named. The rooms of
// lib/ are in .dependency-cruiser.mjs.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { inProject } from "./setup/paths.mjs";

const NATIVE_ROWS = [
  ["error/"],
  ["kernels/", "memory/"],
  ["torchscript/", "checkpoint/"],
  ["binding/"],
  ["addon"],
  ["loader/"],
];
/** Headers that belong to one room alone, with why. */
const NATIVE_HEADERS = [
  { pattern: /^napi\.h|^node_api\.h/, rooms: ["binding/", "addon", "loader/"], why: "only binding/ knows JavaScript" },
  { pattern: /^torch\/script\.h|^torch\/csrc\//, rooms: ["torchscript/"], why: "only torchscript/ knows torch::jit" },
  {
    pattern: /^(torch|ATen|c10)\//,
    rooms: ["error/", "kernels/", "memory/", "torchscript/", "checkpoint/", "binding/"],
    why: "the loader runs before LibTorch is open",
  },
];

/**
 * Find every breach in lib/ and native/.
 * @returns {string[]} one line each: file, what is wrong
 */
export function checkHouse() {
  return ["lib", "native"].flatMap((folder) =>
    readdirSync(inProject(folder), { recursive: true, encoding: "utf8" })
      .map((name) => name.replaceAll("\\", "/"))
      .filter((name) => /\.(ts|cc|h)$/.test(name))
      .sort()
      .flatMap((name) => checkFile(`${folder}/${name}`, readFileSync(join(inProject(folder), name), "utf8"))),
  );
}

/**
 * Find the breaches of one file.
 * @param {string} path from the project's folder, with slashes
 * @param {string} text its content
 */
export function checkFile(path, text) {
  const [, folder, name] = /^(lib|native)\/(.+)$/.exec(path);
  const breaches = folder === "lib" ? checkTypeScript(name, text) : checkNative(name, text);
  return breaches.map((breach) => `${path}: ${breach}`);
}

function checkTypeScript(name) {
  const isKebabCase = /^[a-z0-9]+(-[a-z0-9]+)*(\/[a-z0-9]+(-[a-z0-9]+)*)*\.ts$/.test(name);
  return isKebabCase ? [] : ["its name is not kebab-case"];
}

function checkNative(name, text) {
  const own = roomOf(name, NATIVE_ROWS);
  if (own === undefined) return ["no room of the house has this name"];
  const breaches = [];
  for (const [, header] of text.matchAll(/^\s*#\s*include\s+["<]([^">]+)[">]/gm)) {
    const other = roomOf(header, NATIVE_ROWS);
    if (other && other.row > own.row)
      breaches.push(`it includes ${header}, from a higher row (${other.room} above ${own.room})`);
    if (own.room === "loader/" && other && other.room !== "loader/")
      breaches.push(`it includes ${header}, but the loader stands alone`);
    const rule = NATIVE_HEADERS.find(({ pattern }) => pattern.test(header));
    if (rule && !rule.rooms.includes(own.room)) breaches.push(`it includes ${header}, but ${rule.why}`);
  }
  return breaches;
}

function roomOf(path, rows) {
  const stem = path.replace(/\.(ts|js|cc|h)$/, "");
  for (const [row, rooms] of rows.entries()) {
    const room = rooms.find((candidate) => (candidate.endsWith("/") ? stem.startsWith(candidate) : stem === candidate));
    if (room) return { row, room };
  }
  return undefined;
}
