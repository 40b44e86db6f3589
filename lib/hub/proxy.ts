/**
 * Choose the proxy for an address, as curl and Python do: `HTTPS_PROXY` or `HTTP_PROXY` by the address's scheme, else `ALL_PROXY`, unless
 * `NO_PROXY` names the host, its domain, or `*`.
 * @param variables of the process, or a test's; lower case names come first
 * @returns the proxy's address; undefined where the way is direct
 */
export function proxyFor(
  url: URL,
  variables: Readonly<Record<string, string | undefined>> = process.env,
): string | undefined {
  const read = (name: string): string | undefined => variables[name] || variables[name.toUpperCase()] || undefined;
  const proxy = read(url.protocol === "https:" ? "https_proxy" : "http_proxy") ?? read("all_proxy");
  if (proxy === undefined || isExempt(url, read("no_proxy") ?? "")) return undefined;
  return proxy.includes("://") ? proxy : `http://${proxy}`;
}

function isExempt({ hostname, port, protocol }: URL, list: string): boolean {
  const ownPort = port === "" ? (protocol === "https:" ? "443" : "80") : port;
  const host = hostname.toLowerCase().replace(/^\[|\]$/g, "");
  return list
    .split(/[\s,]+/)
    .filter((entry) => entry !== "")
    .some((entry) => {
      if (entry === "*") return true;
      const [, name = "", wantedPort] = /^\[?(.*?)\]?(?::(\d+))?$/.exec(entry.toLowerCase()) ?? [];
      if (wantedPort !== undefined && wantedPort !== ownPort && !isAddress(entry)) return false;
      const domain = isAddress(entry) ? entry.toLowerCase() : name.replace(/^\*?\./, "");
      return host === domain || host.endsWith(`.${domain}`);
    });
}

/** An IPv6 address without brackets has colons that are no port. */
function isAddress(entry: string): boolean {
  return entry.split(":").length > 2 && !entry.startsWith("[");
}
