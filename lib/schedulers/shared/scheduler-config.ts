/** The file of a scheduler's folder. */
export const SCHEDULER_FILE = "scheduler_config.json";

/** The schedulers whose files a DDIM-like scheduler may take over, as diffusers' `DDIMScheduler.compatibles`. */
export const COMPATIBLE_CLASSES: readonly string[] = [
  "DDIMScheduler",
  "DDPMScheduler",
  "DEISMultistepScheduler",
  "DPMSolverMultistepScheduler",
  "DPMSolverSDEScheduler",
  "DPMSolverSinglestepScheduler",
  "EDMEulerScheduler",
  "EulerAncestralDiscreteScheduler",
  "EulerDiscreteScheduler",
  "HeunDiscreteScheduler",
  "KDPM2AncestralDiscreteScheduler",
  "KDPM2DiscreteScheduler",
  "LMSDiscreteScheduler",
  "PNDMScheduler",
  "UniPCMultistepScheduler",
];
