// The program of the child process in which a CUDA build of LibTorch is tried: cuda-trial.ts runs it and reads its answer. Whatever
// happens here, a crash included, happens to this process alone. LATENT_DIFFUSION_LIBTORCH names the folder.
import type { ProbeAnswer } from "./cuda-trial.js";
import type { Device } from "./contract.js";
import { native } from "./open.js";

/** A product of matrices (cuBLAS) and a convolution (cuDNN). */
const SOURCE = "def forward(self, x):\n    return torch.matmul(x, x) + torch.conv2d(x, x)\n";

/**
 * Open the LibTorch that the environment names, and compute on a device.
 * @param device `"cuda:0"`; `"cpu"` in tests
 * @throws what keeps it from opening or computing
 */
export async function probe(device: Device): Promise<ProbeAnswer> {
  const addon = native();
  const { cudaDevices: devices } = addon.runtimeInfo();
  if (device !== "cpu" && devices === 0) return { devices };
  const spec = { name: "Probe", source: SOURCE, parameters: [], children: [] };
  const module = await addon.moduleDefine(spec);
  const executable = await addon.moduleDerive(module, [], { device, dtype: null, optimize: false });
  const input = addon.tensorFrom(Float32Array.of(1, 2, 3, 4), [1, 1, 2, 2], "float32");
  const moved = await addon.tensorTo(input, device, null);
  const output = await addon.moduleForward(executable, "forward", [moved], null);
  const data = await addon.tensorData(output as typeof moved);
  return { devices, answer: [...data].map(Number) };
}

if (require.main === module) {
  void probe((process.argv[2] as Device | undefined) ?? "cuda:0")
    .catch((error: unknown) => ({ devices: 0, error: error instanceof Error ? error.message : String(error) }))
    .then((answer) => {
      // LibTorch's libraries may crash as the process ends; the answer is out by then.
      process.stdout.write(`\n${JSON.stringify(answer)}\n`, () => process.exit());
    });
}
