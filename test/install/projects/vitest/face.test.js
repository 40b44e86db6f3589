import * as library from "latent-diffusion";
import { expect, test } from "vitest";
import { checkRealm, makePicture } from "./shared.js";

test("every name has a value", () => {
  const names = Object.entries(library).filter(([, value]) => value === undefined);
  expect(names).toEqual([]);
  expect(library.LDMPipeline).toBeTypeOf("function");
});

test("values of this realm are taken, and errors are this library's", async () => {
  await checkRealm(library);
});

test("a picture", async () => {
  console.log(`picture ${await makePicture(library)}`);
});
