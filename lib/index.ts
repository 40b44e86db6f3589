export { AbortError, InvalidArgumentError, LatentDiffusionError, type ErrorCode } from "./errors.js";
export { Generator } from "./generator.js";
export { type GridOptions, makeGrid } from "./image-grid.js";
export { Image, type ImageChannels, type ImageFormat, type ImageFormatOptions, type ImageSize } from "./image.js";
export { type Device, type DType, type NumericArray, type WaitPolicy } from "./native.js";
export { configure, runtimeInfo, type RuntimeInfo, type RuntimeOptions } from "./runtime.js";
export { type ExecutionOptions, ScriptModule, type ScriptArgument, type ScriptResult } from "./script-module.js";
export { op, type Operators, opAsync, Tensor } from "./tensor.js";
