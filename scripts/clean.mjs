// `npm run clean`: removes what was built. What was downloaded (.local/libtorch, node_modules) stays.
import { rmSync } from "node:fs";
import { inProject } from "./setup/paths.mjs";

for (const path of ["build", "dist", ".tap", ".local/logs", ".local/tap", ".local/parity"]) {
  rmSync(inProject(path), { recursive: true, force: true });
}
