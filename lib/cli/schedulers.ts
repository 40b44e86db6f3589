import type { Invocation, OptionTable, Values } from "./command.js";
import { EXIT } from "./failure.js";
import { availableSchedulers, SCHEDULER_NAMES } from "./scheduler-names.js";

/** List the schedulers of this version: short name and class, one a line. */
export async function listSchedulers({ json }: Values<OptionTable>, { terminal }: Invocation): Promise<number> {
  const listed = availableSchedulers().map((name) => ({ name, ...SCHEDULER_NAMES[name] }));
  if (json) await terminal.result(JSON.stringify(listed, undefined, 2));
  for (const { name, className = "", config = {} } of json ? [] : listed) {
    const settings = Object.entries(config).map(([key, value]) => `${key}: ${value}`);
    await terminal.result([name.padEnd(14), className, ...settings].join(" "));
  }
  return EXIT.done;
}
