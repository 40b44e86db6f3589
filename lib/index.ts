export { type FloatingDType } from "./torch/device.js";
export { AbortError, type ErrorCode, InvalidArgumentError, LatentDiffusionError } from "./errors.js";
export { Generator } from "./torch/generator.js";
export { type GridOptions, makeGrid } from "./image/grid.js";
export { Image, type ImageChannels, type ImageFormat, type ImageFormatOptions, type ImageSize } from "./image/image.js";
export {
  type FromConfigOptions,
  type FromPretrainedOptions,
  type NetworkClass,
  type NetworkKind,
  type NetworkModel,
  type NetworkParts,
} from "./models/network-model.js";
export { type ScriptNetwork } from "./models/script-network.js";
export { type SampleSizes } from "./models/unet-2d/network.js";
export type { ExecutionOptions, ExecutionTarget, MoveOptions, StagedExecution } from "./torch/execution.js";
export { type UNet2DConfig, type UNet2DConfigKeys } from "./models/unet-2d/config.js";
export {
  type UNet2DCachedOptions,
  type UNet2DCachedOutput,
  type UNet2DForwardOptions,
  UNet2DModel,
  type UNet2DOutput,
} from "./models/unet-2d/model.js";
export { type VQConfig, type VQConfigKeys } from "./models/vq/config.js";
export { type DecoderOutput, type VQDecodeOptions, type VQEncoderOutput, VQModel } from "./models/vq/model.js";
export {
  type ArrayOf,
  type Device,
  type DType,
  type DTypeOf,
  type ModuleInfo,
  type NumericArray,
  type TypedArrays,
  type WaitPolicy,
} from "./native/contract.js";
export { type CacheOptions } from "./pipelines/shared/cache.js";
export {
  type GenerateOptions,
  type Progress,
  type RunOptions,
  type StreamEvent,
  type StreamOptions,
} from "./pipelines/shared/options.js";
export { type ImageArray, ImagePipelineOutput, type ImagesOf, type OutputType } from "./pipelines/shared/decode.js";
export {
  type DownloadOptions,
  LDMPipeline,
  type PipelineComponents,
  type PipelineLoadOptions,
} from "./pipelines/ldm.js";
export { type PushOptions } from "./pipelines/shared/save.js";
export { type DiffusersComponents, type LoadOptions } from "./pipelines/shared/load-components.js";
export {
  type DenoisingNetwork,
  type LatentDecoder,
  type LDMComponents,
  type NetworkComponent,
} from "./pipelines/shared/components.js";
export { type EventStream } from "./pipelines/shared/events.js";
export {
  type TorchScriptComponent,
  type TorchScriptComponents,
  type TorchScriptConfig,
  type TorchScriptDecoder,
  type TorchScriptOptions,
  type TorchScriptUNet,
} from "./pipelines/shared/torchscript.js";
export { type PushedCommit } from "./hub/upload.js";
export { type DownloadProgress, type HubOptions } from "./hub/options.js";
export { type CheckedConfig, type Config, type ConfigClass } from "./config/config.js";
export { type Field, type Fields } from "./config/fields.js";
export { type JsonObject, type JsonValue } from "./files/json.js";
export { type ComponentName, type PipelineConfig } from "./checkpoint/model-index.js";
export { type SaveWeightsOptions } from "./checkpoint/weights.js";
export { configure, runtimeInfo, type RuntimeInfo, type RuntimeOptions } from "./native/open.js";
export {
  type DDIMConfig,
  type DDIMConfigKeys,
  DDIMScheduler,
  type DDIMSchedulerOutput,
  type DDIMStepOptions,
} from "./schedulers/ddim.js";
export { type DDPMConfig, type DDPMConfigKeys, DDPMScheduler, type VarianceType } from "./schedulers/ddpm.js";
export { type PNDMConfig, type PNDMConfigKeys, PNDMScheduler } from "./schedulers/pndm.js";
export { type DPMSolverMultistepConfigKeys, DPMSolverMultistepScheduler } from "./schedulers/dpm-solver-multistep.js";
export {
  type DPMSolverSDEConfigKeys,
  DPMSolverSDEScheduler,
  type DPMSolverSDEStepOptions,
} from "./schedulers/dpm-solver-sde.js";
export {
  type DPMSinglestepAlgorithm,
  type DPMSolverSinglestepConfigKeys,
  DPMSolverSinglestepScheduler,
} from "./schedulers/dpm-solver-singlestep.js";
export { type EulerAncestralConfigKeys, EulerAncestralDiscreteScheduler } from "./schedulers/euler-ancestral.js";
export { type HeunConfigKeys, HeunDiscreteScheduler } from "./schedulers/heun.js";
export {
  type AncestralSchedule,
  type KDPM2AncestralConfigKeys,
  KDPM2AncestralDiscreteScheduler,
} from "./schedulers/kdpm2-ancestral.js";
export { type KDPM2ConfigKeys, KDPM2DiscreteScheduler } from "./schedulers/kdpm2.js";
export { type LMSConfigKeys, LMSDiscreteScheduler, type LMSStepOptions } from "./schedulers/lms.js";
export { type DEISMultistepConfigKeys, DEISMultistepScheduler } from "./schedulers/deis-multistep.js";
export { type SASolverConfigKeys, SASolverScheduler, type TauFunction } from "./schedulers/sa-solver.js";
export { type DDIMInverseConfigKeys, DDIMInverseScheduler } from "./schedulers/ddim-inverse.js";
export { type LCMConfigKeys, LCMScheduler, type LCMSchedulerOutput } from "./schedulers/lcm.js";
export { type TCDConfigKeys, TCDScheduler, type TCDSchedulerOutput, type TCDStepOptions } from "./schedulers/tcd.js";
export { type ConsistencyKeys, type ConsistencyScheduler } from "./schedulers/shared/consistency-scheduler.js";
export { type UniPCMultistepConfigKeys, UniPCMultistepScheduler } from "./schedulers/unipc-multistep.js";
export { type UniPCSolverType } from "./schedulers/shared/unipc-updates.js";
export { type EulerConfigKeys, EulerDiscreteScheduler, type EulerStepOptions } from "./schedulers/euler.js";
export {
  type Schedule,
  type SchedulerBase,
  type ScheduleRequest,
  type StepInput,
  type TakenStep,
} from "./schedulers/base.js";
export { type ConfiguredScheduler, type GivenConfig, type SchedulerClass } from "./schedulers/configured.js";
export type { Scheduler, SchedulerOutput, SetTimestepsOptions, StepOptions } from "./schedulers/contract.js";
export {
  type AnyBetaSchedule,
  type BetaSchedule,
  type NoiseTables,
  type PredictionType,
  type TrainingKeys,
} from "./schedulers/shared/betas.js";
export {
  type ExponentialKeys,
  type IntegratorKeys,
  type ExponentialScheduler,
  type ShiftingKeys,
  type SolverModel,
} from "./schedulers/shared/exponential-scheduler.js";
export {
  type SigmaScheduler,
  type SigmaSchedulerKeys,
  type SpreadLimits,
} from "./schedulers/shared/sigma-scheduler.js";
export {
  type MidpointKeys,
  type MidpointSchedule,
  type MidpointScheduler,
} from "./schedulers/shared/midpoint-scheduler.js";
export { type Arithmetic, type Operand } from "./schedulers/shared/arithmetic.js";
export { type DPMAlgorithm, type DPMLevel, type DPMSolverType } from "./schedulers/shared/dpm-updates.js";
export { type SigmaKeys, type SigmaSpread } from "./schedulers/shared/sigmas.js";
export { type SpacingKeys, type TimestepSpacing } from "./schedulers/shared/spacing.js";
export { type IsolateOptions } from "./torch/isolated-load.js";
export { ScriptModule, type ScriptLoadOptions } from "./torch/script-module.js";
export { type ScriptArgument, type ScriptResult } from "./torch/script-values.js";
export type { Operators } from "./torch/operators.js";
export { op, opAsync, Tensor, type TensorTarget } from "./torch/tensor.js";
