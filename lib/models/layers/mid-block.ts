import type { ModuleSpec } from "../../native/contract.js";
import { callItem, int, method, moduleList, moduleSpec } from "../torchscript/source.js";

interface MidBlockOptions {
  readonly channels: number;
  /** One residual block, called twice: before the attention and after it. */
  readonly resnet: () => ModuleSpec;
  readonly attention: ModuleSpec | null;
  /** What the residual blocks take beside `x`: the time embedding, the latents of a spatial norm, or nothing. */
  readonly condition: "temb" | "latents" | null;
}

/** Two residual blocks with attention between them. @see diffusers.models.unets.unet_2d_blocks.UNetMidBlock2D */
export function midBlock({ channels, resnet, attention, condition }: MidBlockOptions): ModuleSpec {
  const args = condition === null ? ["x"] : ["x", condition];
  return moduleSpec("UNetMidBlock2D", {
    children: [
      attention !== null && ["attentions", moduleList([attention])],
      ["resnets", moduleList([resnet(), resnet()])],
    ],
    methods: [
      method(
        `forward(self, x: Tensor${condition === null ? "" : `, ${condition}: Tensor`}) -> Tensor`,
        `# x [batch, ${int(channels)}, height, width] -> the same`,
        `x = ${callItem("self.resnets", 0, ...args)}`,
        // Only a spatial norm is in the attention; the time embedding is not.
        attention !== null && `x = ${callItem("self.attentions", 0, ...(condition === "latents" ? args : ["x"]))}`,
        `return ${callItem("self.resnets", 1, ...args)}`,
      ),
    ],
  });
}
