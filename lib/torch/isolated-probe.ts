// The program of the child process in which a TorchScript file is tried: isolated-load.ts runs it and reads its answer. Whatever happens
// here, a crash included, happens to this process alone.
import { LatentDiffusionError } from "../errors.js";
import type { ProbeAnswer, ProbeTask } from "./isolated-load.js";
import { ScriptModule } from "./script-module.js";

/** Load what the caller is about to load, the same way. */
async function probe({ path, execution }: ProbeTask): Promise<ProbeAnswer> {
  try {
    const module = await ScriptModule.load(path, { ...execution, trusted: true });
    module.dispose();
    return {};
  } catch (error) {
    const { message } = error as Error;
    return error instanceof LatentDiffusionError ? { code: error.code, message } : { message };
  }
}

if (require.main === module)
  void probe(JSON.parse(process.argv[2] ?? "") as ProbeTask).then((answer) => {
    process.stdout.write(`\n${JSON.stringify(answer)}\n`);
  });
