import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { PACKAGE_ROOT } from "../native/packages.js";
import type { Invocation, OptionTable, Values } from "./command.js";
import { CommandError, EXIT } from "./failure.js";

/**
 * Build the addon from source, as `npm run setup` does.
 * @throws CommandError `ERR_NO_SOURCE` outside a checkout, saying how to get one; `ERR_BUILD_FAILED`
 */
export async function build({ json }: Values<OptionTable>, { terminal, signal }: Invocation): Promise<number> {
  const script = join(PACKAGE_ROOT, "scripts", "setup.mjs");
  if (!existsSync(script)) {
    throw new CommandError(
      "ERR_NO_SOURCE",
      `${PACKAGE_ROOT} is an installed package, without the sources of the addon`,
      "Clone the repository of latent-diffusion, run `npm run setup` there (it needs a C++20 compiler, CMake 3.22 and Python with pip), " +
        "then `npm install <that folder>` in your project.",
    );
  }
  const child = spawn(process.execPath, [script], { cwd: PACKAGE_ROOT, stdio: ["ignore", 2, 2], signal });
  const code = await new Promise<number | null>((resolve, reject) => child.on("error", reject).on("exit", resolve));
  if (code !== 0)
    throw new CommandError("ERR_BUILD_FAILED", "The build failed", "The messages above say where, and what to do.");
  const addon = join(PACKAGE_ROOT, "build", "Release");
  await terminal.result(json ? JSON.stringify({ addon }) : addon);
  return EXIT.done;
}
