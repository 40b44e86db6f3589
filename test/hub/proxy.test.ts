// Which way requests take: `HTTPS_PROXY` and the like, and a proxy on loopback.
import { createServer, type IncomingMessage } from "node:http";
import { connect, type AddressInfo, type Socket } from "node:net";
import t from "tap";
import { readEnvironment } from "../../lib/hub/environment.js";
import { checkHubOptions } from "../../lib/hub/options.js";
import { proxyFor } from "../../lib/hub/proxy.js";
import { snapshotWith } from "../../lib/hub/snapshot.js";
import { ID, startHub } from "./hub-server.js";

const PROXY = "http://proxy.example:3128";

t.test("the proxy of an address", async (t) => {
  const cases: readonly (readonly [url: string, variables: Record<string, string>, expected: string | undefined])[] = [
    ["https://huggingface.co", {}, undefined],
    ["https://huggingface.co", { HTTPS_PROXY: PROXY }, PROXY],
    ["https://huggingface.co", { https_proxy: PROXY, HTTPS_PROXY: "http://other" }, PROXY],
    ["https://huggingface.co", { HTTPS_PROXY: "proxy.example:3128" }, PROXY],
    ["https://huggingface.co", { HTTP_PROXY: PROXY }, undefined],
    ["http://hub.example", { HTTP_PROXY: PROXY }, PROXY],
    ["http://hub.example", { ALL_PROXY: PROXY }, PROXY],
    ["https://huggingface.co", { HTTPS_PROXY: PROXY, NO_PROXY: "*" }, undefined],
    ["https://huggingface.co", { HTTPS_PROXY: PROXY, NO_PROXY: "localhost, huggingface.co" }, undefined],
    ["https://cdn.huggingface.co", { HTTPS_PROXY: PROXY, NO_PROXY: ".huggingface.co" }, undefined],
    ["https://cdn.huggingface.co", { HTTPS_PROXY: PROXY, no_proxy: "huggingface.co" }, undefined],
    ["https://nothuggingface.co", { HTTPS_PROXY: PROXY, NO_PROXY: "huggingface.co" }, PROXY],
    ["https://huggingface.co", { HTTPS_PROXY: PROXY, NO_PROXY: "huggingface.co:8080" }, PROXY],
    ["https://huggingface.co", { HTTPS_PROXY: PROXY, NO_PROXY: "huggingface.co:443" }, undefined],
    ["http://[::1]:8000", { HTTP_PROXY: PROXY, NO_PROXY: "::1" }, undefined],
    ["http://127.0.0.1:8000", { HTTP_PROXY: PROXY, NO_PROXY: "127.0.0.1" }, undefined],
  ];
  for (const [url, variables, expected] of cases)
    t.equal(proxyFor(new URL(url), variables), expected, `${url} with ${JSON.stringify(variables)}`);
});

t.test("a download goes through the proxy, except to the hosts of NO_PROXY", async (t) => {
  const hub = await startHub();
  t.teardown(() => hub.close());
  const targets: string[] = [];
  const sockets = new Set<Socket>();
  const proxy = createServer();
  proxy.on("connect", (request: IncomingMessage, client: Socket, head: Buffer) => {
    const target = request.url ?? "";
    targets.push(target);
    const [host = "", port = ""] = target.split(":");
    const server = connect(Number(port), host, () => {
      client.write("HTTP/1.1 200 Connection Established\r\n\r\n");
      server.write(head);
      server.pipe(client).pipe(server);
    });
    for (const socket of [client, server]) {
      sockets.add(socket);
      socket.on("error", () => socket.destroy());
    }
  });
  await new Promise<void>((done) => proxy.listen(0, "127.0.0.1", done));
  t.teardown(() => {
    sockets.forEach((socket) => socket.destroy());
    proxy.close();
  });
  const address = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
  const get = async (cacheDir: string): Promise<string> => {
    const settings = checkHubOptions({ cacheDir, endpoint: hub.endpoint }, readEnvironment({ HF_HOME: cacheDir }));
    return snapshotWith(ID, ({ names }) => Promise.resolve(names), { ...settings, retryDelay: 1 });
  };
  const before = { ...process.env };
  t.teardown(() => void (process.env = before));
  process.env = { ...before, http_proxy: address, no_proxy: "" };
  delete process.env.NO_PROXY;
  await get(t.testdir({ a: {} }));
  t.ok(targets.includes(new URL(hub.endpoint).host), "the hub");
  t.ok(targets.length > 1, "and the other host");

  const count = targets.length;
  process.env = { ...process.env, no_proxy: "127.0.0.1" };
  await get(`${t.testdirName}/a`);
  t.equal(targets.length, count, "none through the proxy");

  process.env = { ...process.env, http_proxy: "http://127.0.0.1:1", no_proxy: "" };
  await t.rejects(get(`${t.testdirName}/a/b`), { code: "ERR_HUB_UNAVAILABLE", message: /HTTPS_PROXY/ });
});
