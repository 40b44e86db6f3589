import { type DownloadProgress, LDMPipeline } from "../index.js";
import type { Invocation, Values } from "./command.js";
import type { DOWNLOAD_TABLE } from "./commands.js";
import { EXIT, UsageError } from "./failure.js";
import { formatBytes, type ProgressBar, type Terminal } from "./terminal.js";

/**
 * Download a model into the cache and print its folder.
 * @throws UsageError without a repository; AbortError, what has come is kept; what LDMPipeline.download throws
 */
export async function download(
  {
    json,
    token,
    revision,
    variant,
    cache,
    endpoint,
    force,
    offline,
  }: Values<typeof DOWNLOAD_TABLE> & { json?: boolean },
  { operands, terminal, signal }: Invocation,
): Promise<number> {
  const [id] = operands;
  if (id === undefined) throw new UsageError("Expected a repository, as in CompVis/ldm-celebahq-256", "download");
  const progress = downloadBar(terminal);
  try {
    const folder = await LDMPipeline.download(id, {
      revision,
      variant,
      token,
      endpoint,
      cacheDir: cache,
      forceDownload: force,
      // Without the flag the environment decides.
      localFilesOnly: offline || undefined,
      signal,
      onProgress: progress.show,
    });
    await terminal.result(json ? JSON.stringify({ id, folder }) : folder);
    return EXIT.done;
  } finally {
    progress.clear();
  }
}

/** A bar for a download. It appears only when bytes come that were not in the cache. */
export function downloadBar(terminal: Terminal): {
  readonly show: (progress: DownloadProgress) => void;
  readonly clear: () => void;
} {
  let bar: ProgressBar | undefined;
  let label = "";
  const show = ({ filesDone, files, bytesDone, bytes, rate }: DownloadProgress): void => {
    if (rate === 0) return;
    // As a share: the number of bytes grows when the first file has said which others are needed.
    bar ??= terminal.progress(1, () => label);
    label = `${formatBytes(bytesDone)} of ${formatBytes(bytes)}, file ${Math.min(filesDone + 1, files)} of ${files}, ${formatBytes(Math.round(rate))}/s`;
    bar.update(bytes === 0 ? 1 : bytesDone / bytes);
  };
  return { show, clear: () => bar?.clear() };
}
