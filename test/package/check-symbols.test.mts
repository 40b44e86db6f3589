import t from "tap";
import { tooNew } from "../../scripts/check-symbols.mjs";

const needs = (...names: string[]) =>
  `Version definition section\n  Name: GLIBC_9.9\nVersion needs section '.gnu.version_r' contains 1 entry:\n${names
    .map((name) => `  0x0010:   Name: ${name}  Flags: none  Version: 4\n`)
    .join("")}`;

t.test("versions are compared number by number", (t) => {
  t.strictSame(tooNew(needs("GLIBC_2.2.5", "GLIBC_2.28", "GLIBCXX_3.4.9", "GLIBCXX_3.4.25", "CXXABI_1.3.11")), []);
  t.strictSame(tooNew(needs("GLIBC_2.29", "GLIBC_2.34", "GLIBC_2.34")), ["GLIBC_2.29", "GLIBC_2.34"]);
  t.strictSame(tooNew(needs("GLIBCXX_3.4.30", "CXXABI_1.3.13", "GCC_12.0.0")), [
    "GLIBCXX_3.4.30",
    "CXXABI_1.3.13",
    "GCC_12.0.0",
  ]);
  t.end();
});

t.test("what a library defines is not what it needs", (t) => {
  t.strictSame(tooNew(needs("GLIBC_2.17")), []);
  t.end();
});
