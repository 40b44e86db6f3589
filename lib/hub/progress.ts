import type { DownloadProgress } from "./options.js";
import type { RepositoryFile } from "./repository-info.js";

/** Counts the files and bytes of a download, and tells of them. */
export class ProgressCounter {
  readonly #report: ((progress: DownloadProgress) => void) | undefined;
  readonly #expected = new Set<RepositoryFile>();
  readonly #begin = performance.now();
  #bytes = 0;
  #bytesDone = 0;
  #bytesNew = 0;
  #filesDone = 0;

  /** @param report what it throws ends the download */
  constructor(report: ((progress: DownloadProgress) => void) | undefined) {
    this.#report = report;
  }

  /** Count on these files; those counted on before change nothing. */
  expect(files: readonly RepositoryFile[]): void {
    for (const file of files) {
      if (!this.#expected.has(file)) this.#bytes += file.size;
      this.#expected.add(file);
    }
  }

  /** Count bytes that are here now; `isNew`: they came over the network. */
  add(count: number, isNew: boolean): void {
    this.#bytesDone += count;
    if (isNew) this.#bytesNew += count;
    this.#tell();
  }

  /** Count a file that is in place. @param found so many of its bytes were not counted by {@link add} */
  finish(found: number): void {
    this.#filesDone++;
    this.#bytesDone += found;
    this.#tell();
  }

  #tell(): void {
    const seconds = Math.max(0.001, (performance.now() - this.#begin) / 1000);
    this.#report?.({
      filesDone: this.#filesDone,
      files: this.#expected.size,
      bytesDone: this.#bytesDone,
      bytes: this.#bytes,
      rate: this.#bytesNew / seconds,
    });
  }
}
