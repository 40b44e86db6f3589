import type { DType } from "../native/contract.js";

/** What a pickle holds. Lists, tuples and sets are arrays; dictionaries, ordered or not, are Maps. */
export type PickleValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | PickleValue[]
  | Map<PickleValue, PickleValue>
  | PickleGlobal
  | PickleObject
  | PickleStorage
  | PickleTensor;

/** The name of a Python class or function. It is only a name: nothing is ever imported or called. */
export class PickleGlobal {
  /** `"torch.FloatStorage"` */
  readonly name: string;
  /** Where the pickle names it, in bytes. */
  readonly position: number;

  constructor(name: string, position: number) {
    this.name = name;
    this.position = position;
  }
}

/** What an unknown class or function would have made: it is passed over, not built. */
export class PickleObject {
  readonly type: PickleGlobal;
  /** All that it would have been made of: arguments, state, items. */
  readonly parts: PickleValue[];

  constructor(type: PickleGlobal, parts: PickleValue[]) {
    this.type = type;
    this.parts = parts;
  }
}

/** A row of numbers that tensors show parts of; its bytes are elsewhere. */
export class PickleStorage {
  /** `"torch.FloatStorage"` */
  readonly type: string;
  /** Undefined for a type that has no place in a network here. */
  readonly dtype: DType | undefined;
  readonly key: string;
  /** Of all elements under that key. */
  readonly total: number;
  /** The elements of it that this storage is: in files of old versions it can be a part. */
  readonly begin: number;
  readonly count: number;

  constructor(fields: Pick<PickleStorage, keyof PickleStorage>) {
    this.type = fields.type;
    this.dtype = fields.dtype;
    this.key = fields.key;
    this.total = fields.total;
    this.begin = fields.begin;
    this.count = fields.count;
  }
}

/** A tensor: what it shows of its storage. Shape, strides and offset count elements. */
export class PickleTensor {
  readonly storage: PickleStorage;
  readonly offset: number;
  readonly shape: readonly number[];
  readonly strides: readonly number[];

  constructor(fields: Pick<PickleTensor, keyof PickleTensor>) {
    this.storage = fields.storage;
    this.offset = fields.offset;
    this.shape = fields.shape;
    this.strides = fields.strides;
  }
}

/** Name the kind of a value, for messages. */
export function describePickle(value: PickleValue): string {
  if (value === null) return "None";
  if (Array.isArray(value)) return "a list or tuple";
  if (value instanceof Map) return "a dict";
  if (value instanceof Uint8Array) return "bytes";
  if (value instanceof PickleGlobal) return `the global ${value.name} (byte ${value.position})`;
  if (value instanceof PickleObject) return `an object of ${value.type.name} (byte ${value.type.position})`;
  if (value instanceof PickleStorage) return `a storage of ${value.type}`;
  if (value instanceof PickleTensor) return "a tensor";
  return { boolean: "a bool", number: "a number", bigint: "an int", string: "a str" }[typeof value as "number"];
}
