import type { ErrorCode } from "../errors.js";

/** Exit codes of the program. */
export const EXIT = { done: 0, failed: 1, usage: 2, interrupted: 130 } as const;

/** A command line that cannot be understood: exit code 2. */
export class UsageError extends Error {
  readonly code = "ERR_USAGE";
  /** The command whose help tells more. */
  readonly command: string | undefined;

  constructor(message: string, command?: string) {
    super(message);
    this.name = "UsageError";
    this.command = command;
  }
}

/** A command that did its work and has bad news, such as a self-test that failed; what to do is part of it. */
export class CommandError extends Error {
  readonly code: string;
  readonly advice: string;

  constructor(code: string, message: string, advice: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "CommandError";
    this.code = code;
    this.advice = advice;
  }
}

/** What a user of the command line can do about each code; messages say the rest. */
const ADVICE: Partial<Record<ErrorCode, string>> = {
  ERR_ADDON_NOT_FOUND: "`latent-diffusion doctor` shows what is installed and what is missing.",
  ERR_LIBTORCH_NOT_FOUND: "`latent-diffusion doctor` shows where LibTorch was looked for.",
  ERR_LIBTORCH_UNSUPPORTED: "`latent-diffusion doctor` shows each LibTorch and why it does not fit.",
  ERR_DEVICE_UNAVAILABLE: "`latent-diffusion doctor` lists the devices; `--device cpu` always works.",
  ERR_OUT_OF_MEMORY: "Try a smaller `--batch`, a smaller `--size`, or `--dtype bfloat16`.",
  ERR_CHECKPOINT_NOT_FOUND:
    "`--model` takes a folder with model_index.json, a repository on the hub (owner/name), or a folder with unet.pt and vq_decoder.pt.",
  ERR_TORCHSCRIPT_UNTRUSTED:
    "Loading TorchScript runs code of the file. If you trust where it comes from, add `--trusted`.",
  ERR_INTERNAL: "This is a fault of latent-diffusion. Please report it with the output of `latent-diffusion doctor`.",
};

/** An error as the command line shows it. */
export interface Failure {
  readonly message: string;
  readonly code: string;
  /** What to do about it, where there is something to say. */
  readonly advice: string | undefined;
  readonly exitCode: number;
}

/**
 * Say what an error means to a user of the command line.
 * @param error anything that was thrown
 * @returns its message, code, advice and the exit code
 */
export function describeFailure(error: unknown): Failure {
  const message = error instanceof Error ? error.message : String(error);
  const code = codeOf(error);
  if (error instanceof UsageError) {
    const help = error.command === undefined ? "--help" : `${error.command} --help`;
    return { message, code, advice: `See \`latent-diffusion ${help}\`.`, exitCode: EXIT.usage };
  }
  if (code === "ERR_ABORTED")
    return { message: "Interrupted; what was finished is kept", code, advice: undefined, exitCode: EXIT.interrupted };
  const advice = error instanceof CommandError ? error.advice : ADVICE[code as ErrorCode];
  // What the library refuses as an argument came from the command line.
  return { message, code, advice, exitCode: code === "ERR_INVALID_ARGUMENT" ? EXIT.usage : EXIT.failed };
}

function codeOf(error: unknown): string {
  const { code } = Object(error) as { code?: unknown };
  return typeof code === "string" ? code : "ERR_INTERNAL";
}
