import { inSteps } from "./json.js";
import { PickleInput } from "./pickle-input.js";
import { OPERATIONS } from "./pickle-operations.js";
import { describePickle, PickleGlobal, PickleObject, type PickleValue } from "./pickle-values.js";

/** Far above what a network's file needs: about thirty operations, ten objects and ten marks of the memo for each tensor. */
const MAX_OPERATIONS = 2_000_000;
const MAX_OBJECTS = 200_000;
const MAX_MEMO = 300_000;

/** So many operations take some hundredths of a millisecond. */
const OPERATIONS_AT_ONCE = 64;

const STOP = 0x2e;

/** What makes a value of the arguments of a known class or function. @param position for messages, in bytes */
export type PickleBuilder = (args: readonly PickleValue[], position: number) => PickleValue;

/** What a pickle's names mean to its reader. */
export interface PickleMeaning {
  /** By full name, `"collections.OrderedDict"`; whatever else is called becomes a {@link PickleObject}. */
  readonly builders: ReadonlyMap<string, PickleBuilder>;
  /** Make a value of what the pickle calls a persistent id: here, a storage. */
  readonly persistent: PickleBuilder;
}

/**
 * Read one pickle, of Python's protocols 2 to 5. Nothing in it is imported or called: names stay names, and only what `meaning`
 * knows is built. The event loop is let turn between steps. Values may be nested to any depth: nothing here recurses.
 * @param where what is read, for messages
 * @param position of its first byte
 * @returns the value, and the position behind the pickle
 * @throws LatentDiffusionError `ERR_CHECKPOINT_INVALID` with the position; {@link PickleCutShortError} where bytes are missing
 */
export async function readPickle(
  bytes: Uint8Array,
  where: string,
  meaning: PickleMeaning,
  position = 0,
): Promise<{ value: PickleValue; end: number }> {
  const machine = new PickleMachine(new PickleInput(bytes, position, where), meaning);
  await inSteps(machine.run(), () => undefined);
  return { value: machine.result, end: machine.input.position };
}

/** The stack machine that a pickle is a program of. */
export class PickleMachine {
  readonly input: PickleInput;
  /** Of the operation that runs. */
  position = 0;
  result: PickleValue = null;
  readonly #meaning: PickleMeaning;
  readonly #stack: PickleValue[] = [];
  /** Heights of the stack at which marks were set. */
  readonly #marks: number[] = [];
  readonly #memo = new Map<number, PickleValue>();
  #objects = 0;

  constructor(input: PickleInput, meaning: PickleMeaning) {
    this.input = input;
    this.#meaning = meaning;
  }

  /** Run to the end; every yield is a moment to let others run. */
  *run(): Generator<void> {
    for (let count = 1; ; count++) {
      if (count % OPERATIONS_AT_ONCE === 0) yield;
      if (count > MAX_OPERATIONS) this.fail(`more than ${MAX_OPERATIONS} operations`);
      this.position = this.input.position;
      const opcode = this.input.uint8();
      if (opcode === STOP) break;
      const operation = OPERATIONS.get(opcode);
      if (!operation) this.fail(`the operation ${PickleInput.show(opcode)}, which a checkpoint does not need,`);
      const steps = operation(this);
      if (steps) yield* steps;
    }
    this.result = this.pop();
    if (this.#stack.length > 0 || this.#marks.length > 0) this.fail("an end with values left over");
  }

  /** @throws LatentDiffusionError `ERR_CHECKPOINT_INVALID` with the operation's position */
  fail(what: string): never {
    return this.input.fail(what, this.position);
  }

  push(value: PickleValue): void {
    this.#stack.push(value);
  }

  /** Push a value that takes memory of its own: a container, a name, a string, a large integer. */
  pushObject(value: PickleValue): void {
    if (++this.#objects > MAX_OBJECTS) this.fail(`more than ${MAX_OBJECTS} objects`);
    this.push(value);
  }

  pop(): PickleValue {
    return this.popMany(1)[0] as PickleValue;
  }

  /** The topmost values, in the order in which they came. */
  popMany(count: number): PickleValue[] {
    if (this.#stack.length - (this.#marks.at(-1) ?? 0) < count) this.fail("an operation without its values");
    return this.#stack.splice(this.#stack.length - count);
  }

  top(): PickleValue {
    const value = this.pop();
    this.push(value);
    return value;
  }

  mark(): void {
    this.#marks.push(this.#stack.length);
  }

  /** All values above the last mark, which is taken away. */
  popToMark(): PickleValue[] {
    const mark = this.#marks.pop();
    if (mark === undefined) return this.fail("an operation without its mark");
    return this.#stack.splice(mark);
  }

  /** Python's `POP` takes a mark away where it is on top. */
  popValueOrMark(): void {
    if (this.#marks.at(-1) === this.#stack.length) this.#marks.pop();
    else this.pop();
  }

  remember(index = this.#memo.size): void {
    if (this.#memo.size >= MAX_MEMO) this.fail(`a memo of more than ${MAX_MEMO} values`);
    this.#memo.set(index, this.top());
  }

  recall(index: number): void {
    const value = this.#memo.get(index);
    if (value === undefined) this.fail(`a value ${index} of the memo that was never set`);
    this.push(value);
  }

  /** Do what a call of a class or function stands for: build what is known, pass over what is not. */
  call(callee: PickleValue, args: PickleValue): void {
    if (!(callee instanceof PickleGlobal)) return this.fail(`a call of ${describePickle(callee)}`);
    if (!Array.isArray(args)) return this.fail(`a call of ${callee.name} with ${describePickle(args)}`);
    const builder = this.#meaning.builders.get(callee.name);
    this.pushObject(builder ? builder(args, this.position) : new PickleObject(callee, [args]));
  }

  pushPersistent(id: PickleValue): void {
    this.pushObject(this.#meaning.persistent([id], this.position));
  }

  /** Give the topmost object its state. What is built here needs none: PyTorch hangs versions on its dictionaries. */
  build(): void {
    const [object, state] = this.popMany(2) as [PickleValue, PickleValue];
    if (object instanceof PickleObject) object.parts.push(state);
    else if (object === null || typeof object !== "object" || object instanceof PickleGlobal)
      this.fail(`a state for ${describePickle(object)}`);
    this.push(object);
  }

  /** Add items to the topmost list, set or object. */
  *append(items: readonly PickleValue[]): Generator<void> {
    const list = this.top();
    const target = list instanceof PickleObject ? list.parts : list;
    if (!Array.isArray(target)) return this.fail(`items for ${describePickle(list)}`);
    for (const [i, item] of items.entries()) {
      target.push(item);
      if (i % OPERATIONS_AT_ONCE === 0) yield;
    }
  }

  /** Add keys and values, which alternate, to the topmost dictionary or object. */
  *setItems(items: readonly PickleValue[]): Generator<void> {
    const dict = this.top();
    if (items.length % 2 !== 0) this.fail("a key without its value");
    if (dict instanceof PickleObject) {
      yield* this.append(items);
      return;
    }
    if (!(dict instanceof Map)) return this.fail(`keys and values for ${describePickle(dict)}`);
    for (let i = 0; i < items.length; i += 2) {
      dict.set(items[i] as PickleValue, items[i + 1] as PickleValue);
      if (i % OPERATIONS_AT_ONCE === 0) yield;
    }
  }
}
