// `node scripts/check-symbols.mjs file.node ...`: fails if a binary needs newer symbols than the oldest system that we promise.
// Releases are built in a manylinux_2_28 image and pass; a build on a newer system, such as Debian 12, is for that system only and fails.
import { basename } from "node:path";
import { runMain } from "./setup.mjs";
import { runCommand, SetupError } from "./setup/command.mjs";

/** What RHEL 8 and Debian 10 have: glibc 2.28 and GCC 8's libstdc++. LibTorch itself needs GLIBC_2.28 and GLIBCXX_3.4.22. */
const NEWEST = { GLIBC: "2.28", GLIBCXX: "3.4.25", CXXABI: "1.3.11", GCC: "7.0.0" };

/**
 * Find the version needs of a binary that are too new.
 * @param {string} section what `readelf --version-info` prints
 * @returns {string[]} such as `"GLIBC_2.34"`, each once
 */
export function tooNew(section) {
  // Only needs: a library may define symbols of any version.
  const needs = section.slice(Math.max(0, section.indexOf("Version needs section")));
  const names = [...needs.matchAll(/Name: ((GLIBC|GLIBCXX|CXXABI|GCC)_([\d.]+))/g)];
  return [...new Set(names.filter(([, , kind, version]) => isNewer(version, NEWEST[kind])).map(([, name]) => name))];
}

function isNewer(version, limit) {
  const [a, b] = [version, limit].map((text) => text.split(".").map(Number));
  for (let place = 0; place < Math.max(a.length, b.length); place++) {
    const difference = (a[place] ?? 0) - (b[place] ?? 0);
    if (difference !== 0) return difference > 0;
  }
  return false;
}

if (process.argv[1] === import.meta.filename) {
  await runMain(async () => {
    const files = process.argv.slice(2);
    const complaints = [];
    for (const file of files) {
      const section = await runCommand(["readelf", "--version-info", "--wide", file], {
        log: "readelf",
        advice: "This needs binutils.",
      });
      const found = tooNew(section);
      if (found.length > 0) complaints.push(`${basename(file)} needs ${found.join(", ")}`);
    }
    if (files.length === 0 || complaints.length > 0) {
      throw new SetupError(
        complaints.join("\n  ") || "Expected the names of binaries but received none",
        "Build in an image with glibc 2.28, such as quay.io/pypa/manylinux_2_28_x86_64.",
      );
    }
    console.log(`${files.length} binaries need nothing newer than glibc ${NEWEST.GLIBC}, libstdc++ ${NEWEST.GLIBCXX}`);
  });
}
