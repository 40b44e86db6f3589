import type { ModuleSpec } from "../../native/contract.js";
import { conv2d } from "./basic.js";
import { int, method, moduleSpec } from "../torchscript/source.js";

/** How a block without a convolution of its own changes the size of its input. */
export type Resampling = "up" | "down" | "firUp" | "firDown";

/** Nearest-neighbour doubling; diffusers works around kernels that fail on channels_last input of great size. */
const DOUBLE = [
  "if x.shape[0] >= 64 or x.numel() * 2 > 2147483648:",
  "    x = x.contiguous()",
  "x = torch.upsample_nearest2d(x, None, [2.0, 2.0])",
];

const HALVE = ["x = torch.avg_pool2d(x, [2, 2], [2, 2])"];

/**
 * Filter with the outer product of (1, 3, 3, 1), then keep every second pixel; or put zeros between the pixels, then filter.
 * The filter's values are exact in every dtype, and it is its own mirror image, so it is not flipped.
 * @see diffusers.models.upsampling.upfirdn2d_native
 */
function fir(direction: "up" | "down"): readonly string[] {
  const up = direction === "up";
  const [near, far] = up ? ["0.1875", "0.0625"] : ["0.046875", "0.015625"];
  const middle = up ? "0.5625" : "0.140625";
  const edge = `[${far}, ${near}, ${near}, ${far}]`;
  const inner = `[${near}, ${middle}, ${middle}, ${near}]`;
  return [
    "batch, channels, height, width = x.shape",
    `kernel = torch.tensor([[[${edge}, ${inner}, ${inner}, ${edge}]]], dtype=x.dtype, device=x.device)  # [1, 1, 4, 4]`,
    ...(up
      ? [
          "x = x.reshape(-1, height, 1, width, 1, 1)",
          "x = torch.constant_pad_nd(x, [0, 0, 0, 1, 0, 0, 0, 1], 0).view(-1, height * 2, width * 2, 1)",
          "x = torch.constant_pad_nd(x, [0, 0, 2, 1, 2, 1], 0)",
          "x = x.permute(0, 3, 1, 2).reshape(-1, 1, height * 2 + 3, width * 2 + 3)",
        ]
      : [
          "x = torch.constant_pad_nd(x.reshape(-1, height, width, 1), [0, 0, 1, 1, 1, 1], 0)",
          "x = x.permute(0, 3, 1, 2).reshape(-1, 1, height + 2, width + 2)",
        ]),
    "x = torch.conv2d(x, kernel)",
    up
      ? "x = x.reshape(-1, 1, height * 2, width * 2).permute(0, 2, 3, 1)"
      : "x = x.reshape(-1, 1, height - 1, width - 1).permute(0, 2, 3, 1)[:, ::2, ::2, :]",
    up
      ? "x = x.view(-1, channels, height * 2, width * 2)"
      : "x = x.view(-1, channels, (height - 2) // 2 + 1, (width - 2) // 2 + 1)",
  ];
}

const BODIES: Readonly<Record<Resampling, readonly string[]>> = {
  up: DOUBLE,
  down: HALVE,
  firUp: fir("up"),
  firDown: fir("down"),
};

/** A method that resamples, for the class that needs it. */
export function resampleMethod(name: "forward" | "resample", resampling: Resampling): readonly string[] {
  return method(`${name}(self, x: Tensor) -> Tensor`, BODIES[resampling], "return x");
}

/** @see diffusers.models.downsampling.FirDownsample2D, diffusers.models.upsampling.FirUpsample2D */
export function firResample(resampling: "firUp" | "firDown"): ModuleSpec {
  return moduleSpec(resampling === "firUp" ? "FirUpsample2D" : "FirDownsample2D", {
    methods: [resampleMethod("forward", resampling)],
  });
}

/** A convolution of stride 2. @param padding 0 pads below and to the right only @see diffusers.models.downsampling.Downsample2D */
export function downsample2d(channels: number, padding: 0 | 1): ModuleSpec {
  return moduleSpec("Downsample2D", {
    children: [["conv", conv2d(channels, channels, { kernel: 3, stride: 2, padding })]],
    methods: [
      method(
        "forward(self, x: Tensor) -> Tensor",
        `# x [batch, ${int(channels)}, height, width] -> [batch, ${int(channels)}, height / 2, width / 2]`,
        padding === 0 && "x = torch.constant_pad_nd(x, [0, 1, 0, 1], 0)",
        "return self.conv.forward(x)",
      ),
    ],
  });
}

/** Nearest-neighbour doubling, then a convolution. @see diffusers.models.upsampling.Upsample2D */
export function upsample2d(channels: number): ModuleSpec {
  return moduleSpec("Upsample2D", {
    children: [["conv", conv2d(channels, channels, { kernel: 3, padding: 1 })]],
    methods: [
      method(
        "forward(self, x: Tensor) -> Tensor",
        `# x [batch, ${int(channels)}, height, width] -> [batch, ${int(channels)}, height * 2, width * 2]`,
        DOUBLE,
        "return self.conv.forward(x)",
      ),
    ],
  });
}

/** The k-upscaler's filter (1, 3, 3, 1) / 8, as a convolution that keeps the channels apart. @see diffusers.models.downsampling.KDownsample2D */
export function kResample(direction: "up" | "down"): ModuleSpec {
  const up = direction === "up";
  const row = up ? "[0.25, 0.75, 0.75, 0.25]" : "[0.125, 0.375, 0.375, 0.125]";
  return moduleSpec(up ? "KUpsample2D" : "KDownsample2D", {
    methods: [
      method(
        "forward(self, x: Tensor) -> Tensor",
        "channels = x.shape[1]",
        "x = torch.reflection_pad2d(x, [1, 1, 1, 1])",
        `row = torch.tensor(${row}, dtype=x.dtype, device=x.device)`,
        "weight = torch.zeros([channels, channels, 4, 4], dtype=x.dtype, device=x.device)",
        "indices = torch.arange(channels, device=x.device)",
        "weight[indices, indices] = torch.outer(row, row)[None, :].expand(channels, -1, -1)",
        up
          ? "return torch.conv_transpose2d(x, weight, None, [2, 2], [3, 3])"
          : "return torch.conv2d(x, weight, None, [2, 2])",
      ),
    ],
  });
}
