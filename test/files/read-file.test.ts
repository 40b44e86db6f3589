import { execFileSync } from "node:child_process";
import { constants, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { readWholeFile } from "../../lib/files/read-file.js";

const INVALID = "ERR_CHECKPOINT_INVALID";

t.test("a file is read whole, up to a limit", async (t) => {
  const folder = t.testdir({ text: "abc" });
  t.equal((await readWholeFile(join(folder, "text"), 3)).toString(), "abc");
  await t.rejects(readWholeFile(join(folder, "text"), 2), { code: INVALID, message: /3 bytes, above the bound of 2/ });
  await t.rejects(readWholeFile(join(folder, "none"), 2), {
    code: "ERR_CHECKPOINT_NOT_FOUND",
    message: /does not exist/,
  });
  await t.rejects(readWholeFile(join(folder, "text", "x"), 2), { code: "ERR_CHECKPOINT_NOT_FOUND" });
});

t.test(
  "only regular files are read, and nothing else is waited for",
  { skip: process.platform === "win32" },
  async (t) => {
    const folder = t.testdir({});
    const at = (name: string): string => join(folder, name);
    mkdirSync(at("folder"));
    execFileSync("mkfifo", [at("fifo"), at("fed")]);
    const writer = openSync(at("fed"), constants.O_RDWR | constants.O_NONBLOCK);
    writeFileSync(writer, "{}");
    // A socket's name may be no longer than 108 bytes.
    const socketFolder = mkdtempSync(join(tmpdir(), "socket-"));
    t.teardown(() => rmSync(socketFolder, { recursive: true }));
    const socket = join(socketFolder, "s");
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(socket, resolve));
    const cases: [path: string, message: RegExp][] = [
      [at("folder"), /Expected a file but received a folder/],
      [at("fifo"), /Expected a file but received a FIFO/],
      [at("fed"), /Expected a file but received a FIFO/],
      [socket, /Cannot read/],
      ["/dev/zero", /Expected a file but received not a regular file/],
      ["/dev/null", /not a regular file/],
    ];
    for (const [path, message] of cases) await t.rejects(readWholeFile(path, 1e6), { code: "ERR_IO", message }, path);
    // More than libuv has threads: none of them may be left waiting.
    await Promise.all(Array.from({ length: 16 }, () => t.rejects(readWholeFile(at("fifo"), 1e6), { code: "ERR_IO" })));
    server.close();
  },
);

t.test("what is found in the place of a file is told", async (t) => {
  const cases: [text: string, message: RegExp][] = [
    ["", /the file is empty.*hf download/],
    [
      "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1096408000\n",
      /a Git LFS pointer to a file of 1096408000 bytes.*git lfs pull.*hf download/,
    ],
    ["version https://git-lfs.github.com/spec/v1\n", /a Git LFS pointer to a file, not the file/],
    ["<!doctype html><title>Sign in", /an HTML page/],
    ["\ufeff\n  <HTML lang=en>", /an HTML page/],
    ['<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', /an HTML page/],
  ];
  const path = join(t.testdir({}), "config.json");
  for (const [text, message] of cases) {
    writeFileSync(path, text);
    await t.rejects(readWholeFile(path, 1e6), { code: INVALID, message });
    await t.rejects(readWholeFile(path, 1e6), { message: /config\.json: / });
  }
  for (const text of ["version 1", "<htmlx>", "{}"]) {
    writeFileSync(path, text);
    t.equal((await readWholeFile(path, 1e6)).toString(), text);
  }
});
