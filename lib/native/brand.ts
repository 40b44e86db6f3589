import { version } from "./packages.js";

/**
 * The mark that objects of one class carry. It is the same in all copies of one version of this package in a process (reloaded modules, another
 * realm, a second folder), so that each copy takes the others' objects.
 * @param name of the class
 */
export function brandOf(name: string): symbol {
  return Symbol.for(`latent-diffusion.${name}.${version()}`);
}

/**
 * Give a class its mark, and let `instanceof` go by it.
 * @param open what another copy of this version may call on an object of this class, under the mark
 */
export function markClass<T extends object>(
  marked: { readonly prototype: T },
  brand: symbol,
  open: (this: T, ...args: never[]) => unknown,
): void {
  const inherited = Function.prototype[Symbol.hasInstance];
  Object.defineProperty(marked.prototype, brand, { value: open });
  Object.defineProperty(marked, Symbol.hasInstance, {
    // A subclass inherits this function, and means its own objects only.
    value(this: unknown, value: unknown): boolean {
      return this === marked ? hasBrand(value, brand) : inherited.call(this as typeof Function, value);
    },
  });
}

/**
 * Tell whether a value carries a mark.
 * @returns false for what cannot be read; never throws
 */
export function hasBrand(value: unknown, brand: symbol): boolean {
  try {
    return typeof value === "object" && value !== null && brand in value;
  } catch {
    return false;
  }
}
