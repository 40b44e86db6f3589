import { existsSync, readdirSync } from "node:fs";
import Module from "node:module";
import { join } from "node:path";
import { inspect } from "node:util";
import sharp from "sharp";
import t from "tap";
import { makeGrid } from "../../lib/image/grid.js";
import { Image, type ImageChannels } from "../../lib/image/image.js";

/** Pixels that are all different, so that a transposed or shifted picture shows. */
function ramp(width: number, height: number, channels: ImageChannels = 3, first = 0): Image {
  return Image.from(
    Uint8Array.from({ length: width * height * channels }, (_, i) => (first + i) % 251),
    { width, height, channels },
  );
}

t.test("an image is its size and its pixels", (t) => {
  const data = new Uint8Array(24);
  const image = Image.from(data, { width: 4, height: 2 });
  t.match(image, { width: 4, height: 2, channels: 3 });
  t.equal(image.data, data, "kept, not copied");
  t.throws(() => Object.assign(image, { width: 8 }), TypeError, "its size cannot be changed");
  const clamped = new Uint8ClampedArray([7, 8]);
  const view = Image.from(clamped, { width: 1, height: 2, channels: 1 });
  t.ok(view.data instanceof Uint8Array);
  t.strictSame([...view.data], [7, 8]);
  t.equal(inspect(image), "Image(4 x 2, RGB)");
  t.equal(inspect([view]), "[ Image(1 x 2, grey) ]");
  t.end();
});

t.test("what does not fit is refused, with what was expected and what came", (t) => {
  const make = (data: unknown, size: unknown) => () =>
    Image.from(data as Uint8Array, size as { width: number; height: number });
  const cases: [() => unknown, RegExp][] = [
    [make([1, 2, 3], { width: 1, height: 1 }), /Expected a Uint8Array for data but received an array of length 3/],
    [make(new Uint8Array(3), undefined), /Expected \{ width, height \} for size but received undefined/],
    [make(new Uint8Array(3), { width: 0, height: 1 }), /for width but received 0/],
    [make(new Uint8Array(3), { width: 1, height: 1.5 }), /for height but received 1.5/],
    [make(new Uint8Array(2), { width: 1, height: 1, channels: 2 }), /Expected 1, 3 or 4 for channels but received 2/],
    [
      make(new Uint8Array(3), { width: 1, height: 1, channels: "3" }),
      /Expected 1, 3 or 4 for channels but received "3"/,
    ],
    [make(new Uint8Array(5), { width: 1, height: 2 }), /Expected 6 values \(2 x 1 x 3\) for data but received 5/],
    [make(new Uint8Array(3), { width: 1, hight: 1 }), /Unknown option "hight" for Image.from; did you mean "height"/],
  ];
  for (const [call, message] of cases) t.throws(call, { code: "ERR_INVALID_ARGUMENT", message });
  t.end();
});

t.test("lossless formats give back every pixel and the number of channels", async (t) => {
  for (const channels of [1, 3, 4] as const) {
    const image = ramp(5, 3, channels);
    for (const [format, options] of [
      ["png", undefined],
      ["tiff", { compression: "lzw" }],
      ["webp", { lossless: true, exact: true }],
    ] as const) {
      if (format === "webp" && channels === 1) continue; // WebP has no grey
      const encoded = await image.toBuffer(format, options);
      t.match(await sharp(encoded).metadata(), { width: 5, height: 3, channels }, `${format}, ${channels} channels`);
      const data = await sharp(encoded)
        .toColourspace(channels === 1 ? "b-w" : "srgb")
        .raw()
        .toBuffer();
      t.strictSame([...data], [...image.data], `${format}, ${channels} channels`);
    }
  }
});

t.test("toBuffer writes the format that it is asked for, png by default, with sharp's options", async (t) => {
  const image = ramp(32, 32);
  for (const [format, name] of [
    ["png", "png"],
    ["jpeg", "jpeg"],
    ["webp", "webp"],
    ["avif", "heif"],
    ["tiff", "tiff"],
    ["gif", "gif"],
  ] as const) {
    t.equal((await sharp(await image.toBuffer(format)).metadata()).format, name);
  }
  t.equal((await sharp(await image.toBuffer()).metadata()).format, "png");
  t.ok((await image.toBuffer("jpeg", { quality: 10 })).length < (await image.toBuffer("jpeg", { quality: 95 })).length);
  await t.rejects(image.toBuffer("bmp" as "png"), {
    code: "ERR_INVALID_ARGUMENT",
    message: /Expected one of "png", .* for format but received "bmp"/,
  });
  await t.rejects(image.toBuffer("jpeg", { quality: 500 }), {
    code: "ERR_INVALID_ARGUMENT",
    message: /quality but received 500 .*an option of sharp's for jpeg/,
  });
  const passed = { quality: 50, optionOfANewerSharp: true } as object;
  t.strictSame(
    await image.toBuffer("jpeg", passed),
    await image.toBuffer("jpeg", { quality: 50 }),
    "names that this package has never heard of are sharp's to judge",
  );
  for (const options of [null, 90, "best"])
    await t.rejects(image.toBuffer("png", options as never), { code: "ERR_INVALID_ARGUMENT" });
  await t.rejects(ramp(20_000, 1).toBuffer("webp"), {
    code: "ERR_IO",
    message: /Cannot encode Image\(20000 x 1, RGB\) as webp: /,
  });
});

t.test("pixels in the middle of a larger buffer are the ones that are written", async (t) => {
  const all = Uint8Array.from({ length: 30 }, (_, i) => i);
  const image = Image.from(all.subarray(6, 18), { width: 2, height: 2 });
  t.strictSame(
    [
      ...(await sharp(await image.toBuffer("png"))
        .raw()
        .toBuffer()),
    ],
    [...all.subarray(6, 18)],
  );
});

t.test("toSharp gives a picture to go on with", async (t) => {
  const { info } = await ramp(8, 6).toSharp().resize(4).raw().toBuffer({ resolveWithObject: true });
  t.match(info, { width: 4, height: 3, channels: 3 });
});

t.test("save takes the format from the extension, whole or not at all", async (t) => {
  const folder = t.testdir({ "old.png": "an earlier picture", file: "" });
  const image = ramp(8, 8);
  for (const [name, format] of [
    ["a.png", "png"],
    ["b.JPG", "jpeg"],
    ["c.jpeg", "jpeg"],
    ["d.webp", "webp"],
    ["e.tif", "tiff"],
    ["old.png", "png"],
  ] as const) {
    await image.save(join(folder, name));
    t.equal((await sharp(join(folder, name)).metadata()).format, format, name);
  }
  await t.rejects(image.save(join(folder, "f.bmp")), {
    code: "ERR_INVALID_ARGUMENT",
    message: /Expected one of \.png, \.jpg, .*\.gif for the extension of path but received "\.bmp"/,
  });
  await t.rejects(image.save(join(folder, "png")), { code: "ERR_INVALID_ARGUMENT" });
  await t.rejects(image.save(""), { code: "ERR_INVALID_ARGUMENT" });
  await t.rejects(image.save(join(folder, "missing", "a.png")), {
    code: "ERR_IO",
    message: /Cannot write .*a\.png: its folder cannot be opened/,
  });
  t.notOk(existsSync(join(folder, "missing")), "no folder is made");
  await t.rejects(image.save(join(folder, "file", "a.png")), {
    code: "ERR_IO",
    message: /Cannot write .*not a folder/,
  });
  t.notOk(
    readdirSync(folder).some((name) => name.endsWith(".tmp")),
    "no temporary file is left",
  );
});

t.test("sharp is loaded on first use only, and its absence is told", async (t) => {
  // A fresh copy of the module, in which require finds no sharp.
  const load = Module.createRequire(__filename);
  const file = load.resolve("../../lib/image/image.js");
  const internals = Module as unknown as { _load: (request: string, ...rest: unknown[]) => unknown };
  const original = internals._load;
  const cached = load.cache[file];
  t.teardown(() => {
    internals._load = original;
    load.cache[file] = cached;
  });
  load.cache[file] = undefined;
  internals._load = (request, ...rest) => {
    if (request === "sharp") throw new Error("Cannot find module 'sharp'");
    return original.call(internals, request, ...rest);
  };
  const fresh = load(file) as { Image: typeof Image };
  const image = fresh.Image.from(new Uint8Array(3), { width: 1, height: 1 });
  t.not(fresh.Image, Image, "a fresh copy");
  t.equal(image.data.length, 3, "pixels need no sharp");
  await t.rejects(image.toBuffer("png"), {
    code: "ERR_ADDON_NOT_FOUND",
    message: /needs the package sharp/,
    cause: { message: /Cannot find module/ },
  });
});

t.test("a grid is filled row by row, as square as it gets", (t) => {
  const images = [0, 10, 20, 30, 40].map((first) => ramp(2, 1, 1, first));
  const grid = makeGrid(images);
  t.match(grid, { width: 6, height: 2, channels: 1 });
  t.strictSame([...grid.data], [0, 1, 10, 11, 20, 21, 30, 31, 40, 41, 0, 0]);
  t.end();
});

t.test("columns, gap and background", (t) => {
  const images = [ramp(1, 2, 3, 0), ramp(1, 2, 3, 100), ramp(1, 2, 3, 200)];
  const grid = makeGrid(images, { columns: 2, gap: 1, background: [9, 8, 7] });
  t.match(grid, { width: 3, height: 5 });
  t.strictSame(
    [...grid.data],
    [
      0, 1, 2, 9, 8, 7, 100, 101, 102, 3, 4, 5, 9, 8, 7, 103, 104, 105, 9, 8, 7, 9, 8, 7, 9, 8, 7, 200, 201, 202, 9, 8,
      7, 9, 8, 7, 203, 204, 205, 9, 8, 7, 9, 8, 7,
    ],
  );
  t.strictSame([...makeGrid([ramp(1, 1, 4)], { columns: 2 }).data], [0, 1, 2, 3, 0, 0, 0, 255], "an opaque background");
  t.strictSame([...makeGrid([ramp(2, 2)]).data], [...ramp(2, 2).data], "a grid of one");
  t.end();
});

t.test("a grid of what does not fit together is refused", (t) => {
  const cases: [() => unknown, RegExp][] = [
    [() => makeGrid([]), /Expected an array of one Image or more for images/],
    [() => makeGrid([{}] as unknown as Image[]), /Expected an array of one Image or more for images/],
    [() => makeGrid([ramp(2, 2), 5 as unknown as Image]), /Expected an Image for images\[1\] but received 5/],
    [
      () => makeGrid([ramp(2, 2), ramp(2, 3)]),
      /Expected an image of 2 x 2 with 3 channels, as images\[0\], for images\[1\]/,
    ],
    [() => makeGrid([ramp(2, 2), ramp(2, 2, 1)]), /for images\[1\]/],
    [() => makeGrid([ramp(2, 2)], { columns: 0 }), /for columns but received 0/],
    [() => makeGrid([ramp(2, 2)], { gap: -1 }), /for gap but received -1/],
    [() => makeGrid([ramp(2, 2)], { background: [0] }), /Expected an array of 3 values from 0 to 255 for background/],
    [() => makeGrid([ramp(2, 2)], { background: [0, 0, 256] }), /for background\[2\] but received 256/],
    [() => makeGrid([ramp(2, 2)], { colums: 2 } as object), /did you mean "columns"/],
  ];
  for (const [call, message] of cases) t.throws(call, { code: "ERR_INVALID_ARGUMENT", message });
  t.end();
});
