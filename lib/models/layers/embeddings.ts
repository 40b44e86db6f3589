import type { ModuleSpec } from "../../native/contract.js";
import { linear } from "./basic.js";
import { float, FLOAT32, int, method, moduleSpec } from "../torchscript/source.js";

/** -math.log(10000), the exponent of the slowest wave. */
const LOG_MAX_PERIOD = -9.210340371976184;

/**
 * Sines and cosines of the timestep, computed in float32 whatever the network's dtype.
 * @see diffusers.models.embeddings.get_timestep_embedding
 */
export function timesteps(channels: number, flipSinToCos: boolean, freqShift: number): ModuleSpec {
  const half = Math.floor(channels / 2);
  return moduleSpec("Timesteps", {
    methods: [
      method(
        "forward(self, timesteps: Tensor) -> Tensor",
        `# timesteps [batch] -> [batch, ${int(channels)}]`,
        `exponent = torch.arange(0, ${int(half)}, dtype=${FLOAT32}, device=timesteps.device) * ${float(LOG_MAX_PERIOD)}`,
        `frequencies = torch.exp(exponent / ${float(half - freqShift)})`,
        `waves = timesteps[:, None].to(frequencies.dtype) * frequencies[None, :]  # [batch, ${int(half)}]`,
        `emb = torch.cat([${flipSinToCos ? "torch.cos(waves), torch.sin(waves)" : "torch.sin(waves), torch.cos(waves)"}], -1)`,
        channels % 2 === 1 && "emb = torch.constant_pad_nd(emb, [0, 1, 0, 0], 0)",
        "return emb",
      ),
    ],
  });
}

/** Sines and cosines of the logarithm of a noise level, at learned frequencies. @see diffusers.models.embeddings.GaussianFourierProjection */
export function gaussianFourierProjection(channels: number): ModuleSpec {
  return moduleSpec("GaussianFourierProjection", {
    parameters: [["weight", [channels]]],
    methods: [
      method(
        "forward(self, timesteps: Tensor) -> Tensor",
        `# timesteps [batch] -> [batch, ${int(2 * channels)}]`,
        `waves = torch.log(timesteps)[:, None] * self.weight[None, :] * 2 * ${float(Math.PI)}`,
        "return torch.cat([torch.sin(waves), torch.cos(waves)], -1)",
      ),
    ],
  });
}

/** Two linear layers around a SiLU. @see diffusers.models.embeddings.TimestepEmbedding */
export function timestepEmbedding(inFeatures: number, size: number): ModuleSpec {
  return moduleSpec("TimestepEmbedding", {
    children: [
      ["linear_1", linear(inFeatures, size)],
      ["linear_2", linear(size, size)],
    ],
    methods: [
      method(
        "forward(self, emb: Tensor) -> Tensor",
        `# emb [batch, ${int(inFeatures)}] -> [batch, ${int(size)}]`,
        "return self.linear_2.forward(torch.silu(self.linear_1.forward(emb)))",
      ),
    ],
  });
}
