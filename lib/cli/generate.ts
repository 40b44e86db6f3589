import { mkdir } from "node:fs/promises";
import { dirname, extname } from "node:path";
import {
  type Device,
  type FloatingDType,
  Generator,
  type Image,
  type LDMComponents,
  type LDMPipeline,
  makeGrid,
} from "../index.js";
import { throwIfAborted } from "../errors.js";
import { raiseIo, replaceFile, writeWhole } from "../files/atomic-file.js";
import type { Invocation, Values } from "./command.js";
import type { GENERATE_TABLE } from "./commands.js";
import { downloadBar } from "./download.js";
import { EXIT, UsageError } from "./failure.js";
import { DEMO, loadModel } from "./model-source.js";
import { addRecipe, type Maker, readRecipe, type Recipe, thisMaker } from "./recipe.js";
import { findScheduler, makeScheduler } from "./scheduler-names.js";
import { formatSeconds, type Terminal } from "./terminal.js";
import { packageVersion } from "./version.js";

type GenerateValues = Values<typeof GENERATE_TABLE> & { readonly json?: boolean };

/** Options that mean something beside `--again`: where to write, and where things are on this machine. */
const BESIDE_AGAIN = ["again", "out", "model", "device", "trusted", "json", "debug"];

/** Pixels between the pictures of a grid. */
const GRID_GAP = 2;

/** Standard output, as the value of `--out`. */
const STANDARD_OUTPUT = "-";

/** A file that was written, as `--json` lists it. */
interface WrittenFile {
  readonly path: string;
  /** Of the picture, or of a grid's first. */
  readonly seed: number;
  readonly width: number;
  readonly height: number;
}

/** One picture of a run, with what it follows from. */
interface Made {
  readonly image: Image;
  readonly recipe: Recipe;
}

/**
 * Make pictures and write each as soon as it is finished; an interrupt keeps those.
 * @throws UsageError for options that do not go together; AbortError; what loading and generating throw
 */
export async function generate(values: GenerateValues, { terminal, signal, given }: Invocation): Promise<number> {
  const { recipe, grid } = await plan(values, given, terminal);
  checkOut(values, grid ? 1 : recipe.picture === undefined ? recipe.count : 1, terminal);
  // A misspelt name is told before the model is loaded.
  if (recipe.scheduler !== undefined) findScheduler(recipe.scheduler);
  const begun = performance.now();
  if (values.out !== STANDARD_OUTPUT) await makeFolder(dirname(values.out));
  terminal.note(`Loading ${recipe.model} ...`);
  const { device, dtype } = recipe;
  const { show, clear } = downloadBar(terminal);
  const loading = { device, dtype, trusted: values.trusted, signal, onProgress: show };
  const pipe = await loadModel(recipe.model, loading).finally(clear);
  const files: WrittenFile[] = [];
  try {
    throwIfAborted(signal);
    if (recipe.scheduler !== undefined) pipe.scheduler = makeScheduler(recipe.scheduler, pipe.scheduler.config);
    const writer = new PictureWriter(values.out, terminal, values.json === true, files);
    await (grid
      ? makeOneGrid(pipe, recipe, writer, signal, terminal)
      : makeEach(pipe, recipe, writer, signal, terminal));
  } finally {
    pipe.dispose();
    const seconds = (performance.now() - begun) / 1000;
    if (values.json && files.length > 0)
      await terminal.result(JSON.stringify({ ...recipe, files, seconds }, undefined, 2));
    if (files.length > 0) terminal.note(`${describeFiles(files)} in ${formatSeconds(seconds)}`);
  }
  return EXIT.done;
}

function describeFiles(files: readonly WrittenFile[]): string {
  return files.length === 1 ? "Wrote 1 file" : `Wrote ${files.length} files`;
}

/** Take the run from the options, or from the picture that is to be made again. */
async function plan(
  values: GenerateValues,
  given: ReadonlySet<string>,
  terminal: Terminal,
): Promise<{ recipe: Recipe; grid: boolean }> {
  if (values.again === undefined) return { recipe: recipeOf(values), grid: values.grid };
  const other = [...given].find((name) => !BESIDE_AGAIN.includes(name));
  if (other !== undefined)
    throw new UsageError(`Expected no --${other} beside --again: the picture says how it was made`, "generate");
  const { recipe, maker } = await readRecipe(values.again);
  noteOtherMaker(maker, terminal);
  const moved = {
    ...(values.model === undefined ? {} : { model: values.model }),
    ...(given.has("device") ? { device: values.device as Device } : {}),
  };
  return { recipe: { ...recipe, ...moved }, grid: recipe.picture === undefined };
}

/** Say so where a picture was made under conditions that change last digits. */
function noteOtherMaker(maker: Partial<Maker>, terminal: Terminal): void {
  const here = thisMaker(packageVersion());
  for (const name of ["version", "libtorch", "cpu", "threads"] as const) {
    if (maker[name] === here[name]) continue;
    terminal.note(
      `The picture was made with another ${name} (${JSON.stringify(maker[name])}, here ${JSON.stringify(here[name])}): pixels may differ a little.`,
    );
  }
}

function recipeOf(values: GenerateValues): Recipe {
  const { model = DEMO, count, batch, seed, steps, eta, scheduler } = values;
  if (!Number.isSafeInteger(seed + count))
    throw new UsageError("Expected a smaller --seed: each picture takes the next one");
  return {
    model,
    seed,
    count,
    batch: Math.min(batch, count),
    steps,
    eta,
    ...(scheduler === undefined ? {} : { scheduler }),
    ...(values.size === undefined ? {} : { size: parseSize(values.size) }),
    dtype: values.dtype as FloatingDType,
    device: values.device as Device,
  };
}

function parseSize(size: string): readonly [number, number] {
  const match = /^(\d{1,6})(?:x(\d{1,6}))?$/i.exec(size);
  if (!match)
    throw new UsageError(`Expected pixels (256, or 256x128 for width x height) for --size but received "${size}"`);
  const [, width = "", height = width] = match;
  return [Number(width), Number(height)];
}

/** Refuse what cannot be written before any work is done. */
function checkOut({ out, json }: GenerateValues, files: number, terminal: Terminal): void {
  if (out !== STANDARD_OUTPUT) {
    if (extname(out).toLowerCase() !== ".png")
      throw new UsageError(`Expected a name that ends in .png for --out but received "${out}"`);
    return;
  }
  if (json) throw new UsageError("Expected --json or --out - but received both: both write to standard output");
  if (files > 1) throw new UsageError("Expected one picture for --out -: ask for --count 1, or for a --grid");
  if (terminal.showsResults)
    throw new UsageError("Expected a pipe or a file for --out -: a terminal cannot show a PNG");
}

async function makeFolder(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true }).catch(raiseIo(`Cannot make the folder ${folder}`));
}

async function makeEach(
  pipe: LDMPipeline<LDMComponents>,
  recipe: Recipe,
  writer: PictureWriter,
  signal: AbortSignal,
  terminal: Terminal,
): Promise<void> {
  const wanted = recipe.picture;
  let number = 0;
  for await (const made of pictures(pipe, recipe, signal, terminal)) {
    if (wanted === undefined) await writer.write(made, numberOf(++number, recipe.count));
    else if (made.recipe.picture === wanted) await writer.write({ ...made, recipe }, "");
  }
}

/** Number the files of a run from 1, so that they sort in order; a single one keeps its name. */
function numberOf(number: number, count: number): string {
  return count === 1 ? "" : `-${String(number).padStart(String(count).length, "0")}`;
}

async function makeOneGrid(
  pipe: LDMPipeline<LDMComponents>,
  recipe: Recipe,
  writer: PictureWriter,
  signal: AbortSignal,
  terminal: Terminal,
): Promise<void> {
  const images: Image[] = [];
  try {
    for await (const { image } of pictures(pipe, recipe, signal, terminal)) images.push(image);
  } finally {
    // Also after an interrupt: the finished ones make a grid of their own.
    if (images.length > 0) {
      const image = makeGrid(images, { gap: GRID_GAP });
      await writer.write({ image, recipe: { ...recipe, count: images.length } }, "");
    }
  }
}

/** Run batch after batch. Each picture's recipe is its own batch, since last digits depend on what is computed together. */
async function* pictures(
  pipe: LDMPipeline<LDMComponents>,
  recipe: Recipe,
  signal: AbortSignal,
  terminal: Terminal,
): AsyncGenerator<Made, void, undefined> {
  const { seed, count, batch, steps, eta, size } = recipe;
  let where = "";
  const bar = terminal.progress(count, () => where);
  try {
    for (let first = 0; first < count; first += batch) {
      const batchSize = Math.min(batch, count - first);
      const generators = Array.from({ length: batchSize }, (_, i) => Generator.fromSeed(seed + first + i));
      const of = count === 1 ? "" : `picture ${first + 1}${batchSize > 1 ? `-${first + batchSize}` : ""} of ${count}, `;
      const request = { batchSize, generator: generators, numInferenceSteps: steps, eta, signal, ...sides(size) };
      let images: readonly Image[] = [];
      for await (const event of pipe.stream(request)) {
        where = `${of}step ${event.step} of ${event.steps}`;
        bar.update(first + (batchSize * event.step) / event.steps);
        images = event.images ?? images;
      }
      for (const generator of generators) generator.dispose();
      bar.clear();
      const shared = { ...recipe, seed: seed + first, count: batchSize, batch: batchSize };
      for (const [picture, image] of images.entries()) yield { image, recipe: { ...shared, picture } };
    }
  } finally {
    bar.clear();
  }
}

function sides(size: Recipe["size"]): { width?: number; height?: number } {
  return size === undefined ? {} : { width: size[0], height: size[1] };
}

/** Writes pictures as PNG with their recipes, and says which. */
class PictureWriter {
  readonly #out: string;
  readonly #terminal: Terminal;
  readonly #isQuiet: boolean;
  readonly #files: WrittenFile[];
  readonly #maker = thisMaker(packageVersion());

  /**
   * @param isQuiet whether the paths are kept for the end
   * @param files gets an entry for each file
   */
  constructor(out: string, terminal: Terminal, isQuiet: boolean, files: WrittenFile[]) {
    this.#out = out;
    this.#terminal = terminal;
    this.#isQuiet = isQuiet;
    this.#files = files;
  }

  /** @param suffix comes between the name and its extension */
  async write({ image, recipe }: Made, suffix: string): Promise<void> {
    const png = addRecipe(await image.toBuffer("png"), recipe, this.#maker);
    if (this.#out === STANDARD_OUTPUT) return this.#terminal.result(png);
    const extension = extname(this.#out);
    const path = `${this.#out.slice(0, -extension.length)}${suffix}${extension}`;
    await replaceFile(path, (temporary) => writeWhole(temporary, png));
    const { width, height } = image;
    this.#files.push({ path, seed: recipe.seed + (recipe.picture ?? 0), width, height });
    if (!this.#isQuiet) await this.#terminal.result(path);
  }
}
