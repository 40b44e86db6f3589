import type { PickleMachine } from "./pickle.js";
import { describePickle, PickleGlobal, type PickleValue } from "./pickle-values.js";

/** Python's newest protocol. */
const MAX_PROTOCOL = 5;

/** What an operation does; a long one is done in steps. */
type Operation = (machine: PickleMachine) => Iterable<void> | void;

function protocol(machine: PickleMachine): void {
  const version = machine.input.uint8();
  if (version > MAX_PROTOCOL) machine.fail(`protocol ${version} of pickles, above ${MAX_PROTOCOL},`);
}

function global(machine: PickleMachine, module: PickleValue, name: PickleValue): void {
  if (typeof module !== "string" || typeof name !== "string")
    return machine.fail(`a global named by ${describePickle(module)} and ${describePickle(name)}`);
  machine.pushObject(new PickleGlobal(`${module}.${name}`, machine.position));
}

/** By code, the operations of protocols 2 to 5 that data are made of. Those of protocols 0 and 1, extensions and buffers are not read. */
export const OPERATIONS: ReadonlyMap<number, Operation> = new Map<number, Operation>(
  (
    [
      // Frame
      ["\x80", protocol],
      ["\x95", (m) => void m.input.bytes(8)],
      // Simple values
      ["N", (m) => m.push(null)],
      ["\x88", (m) => m.push(true)],
      ["\x89", (m) => m.push(false)],
      ["J", (m) => m.push(m.input.int32())],
      ["K", (m) => m.push(m.input.uint8())],
      ["M", (m) => m.push(m.input.uint16())],
      ["\x8a", (m) => m.pushObject(m.input.integer(m.input.uint8()))],
      ["\x8b", (m) => m.pushObject(m.input.integer(m.input.uint32()))],
      ["G", (m) => m.push(m.input.float64())],
      ["X", (m) => m.pushObject(m.input.text(m.input.uint32()))],
      ["\x8c", (m) => m.pushObject(m.input.text(m.input.uint8()))],
      ["\x8d", (m) => m.pushObject(m.input.text(m.input.uint64()))],
      // A str of Python 2, or what later versions write as bytes.
      ["T", (m) => m.pushObject(m.input.bytes(m.input.uint32()))],
      ["U", (m) => m.pushObject(Buffer.from(m.input.bytes(m.input.uint8())).toString("latin1"))],
      ["B", (m) => m.pushObject(m.input.bytes(m.input.uint32()))],
      ["C", (m) => m.pushObject(m.input.bytes(m.input.uint8()))],
      ["\x8e", (m) => m.pushObject(m.input.bytes(m.input.uint64()))],
      ["\x96", (m) => m.pushObject(m.input.bytes(m.input.uint64()))],
      // Containers
      ["(", (m) => m.mark()],
      ["0", (m) => m.popValueOrMark()],
      ["1", (m) => void m.popToMark()],
      ["2", (m) => m.push(m.top())],
      ["]", (m) => m.pushObject([])],
      [")", (m) => m.pushObject([])],
      ["}", (m) => m.pushObject(new Map())],
      ["\x8f", (m) => m.pushObject([])],
      ["t", (m) => m.pushObject(m.popToMark())],
      ["\x91", (m) => m.pushObject(m.popToMark())],
      ["\x85", (m) => m.pushObject(m.popMany(1))],
      ["\x86", (m) => m.pushObject(m.popMany(2))],
      ["\x87", (m) => m.pushObject(m.popMany(3))],
      ["a", (m) => m.append(m.popMany(1))],
      ["e", (m) => m.append(m.popToMark())],
      ["\x90", (m) => m.append(m.popToMark())],
      ["s", (m) => m.setItems(m.popMany(2))],
      ["u", (m) => m.setItems(m.popToMark())],
      // The memo
      ["q", (m) => m.remember(m.input.uint8())],
      ["r", (m) => m.remember(m.input.uint32())],
      ["\x94", (m) => m.remember()],
      ["h", (m) => m.recall(m.input.uint8())],
      ["j", (m) => m.recall(m.input.uint32())],
      // Classes and functions, by name
      ["c", (m) => global(m, m.input.line(), m.input.line())],
      ["\x93", (m) => global(m, ...(m.popMany(2) as [PickleValue, PickleValue]))],
      ["R", (m) => m.call(...(m.popMany(2) as [PickleValue, PickleValue]))],
      ["\x81", (m) => m.call(...(m.popMany(2) as [PickleValue, PickleValue]))],
      ["\x92", (m) => callWithKeywords(m)],
      ["b", (m) => m.build()],
      ["Q", (m) => m.pushPersistent(m.pop())],
    ] as readonly (readonly [string, Operation])[]
  ).map(([code, operation]) => [code.charCodeAt(0), operation]),
);

function callWithKeywords(machine: PickleMachine): void {
  const [callee, args, keywords] = machine.popMany(3) as [PickleValue, PickleValue, PickleValue];
  if (!Array.isArray(args)) return machine.fail(`a call with ${describePickle(args)}`);
  machine.call(callee, [...args, keywords]);
}
