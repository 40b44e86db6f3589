import t from "tap";
import { Generator, Tensor } from "../../lib/index.js";
import { native } from "../../lib/native/open.js";

// The addon reads JavaScript's arrays while their getters run: it must take one length, once.

/** Node 20 has buffers that change their size; TypeScript's library for ES2023 does not know them. */
interface Resizable extends ArrayBuffer {
  resize(bytes: number): void;
}

/** An array whose first element, as it is read, makes the array longer or shorter. */
function changing(length: number, values: readonly number[]): number[] {
  const array = [...values];
  Object.defineProperty(array, 0, {
    get() {
      array.length = length;
      for (let i = values.length; i < length; i++) array[i] = 1;
      return values[0];
    },
  });
  return array;
}

t.test("an array that grows or shrinks while it is read is taken at one length", (t) => {
  const data = Float32Array.of(1, 2, 3, 4);
  for (let round = 0; round < 50; round++) {
    const grown = native().tensorFrom(data, changing(100_000, [2, 2]), "float32");
    t.strictSame(native().tensorInfo(grown).shape, [2, 2], "two dimensions, as when it was asked");
    native().dispose(grown);
    t.throws(() => native().tensorFrom(data, changing(1, [2, 2]), "float32"), { code: "ERR_INVALID_ARGUMENT" });
  }
  t.end();
});

t.test("arrays of a length that no network has are refused at once", (t) => {
  const sparse: number[] = [];
  sparse.length = 2 ** 32 - 1;
  t.throws(() => native().tensorFrom(new Float32Array(1), sparse, "float32"), {
    code: "ERR_INVALID_ARGUMENT",
    message: /at most 1048576 elements/,
  });
  t.end();
});

t.test("typed arrays over detached, shrunk and shared memory are refused or copied", (t) => {
  const detached = new Float32Array(4);
  structuredClone(detached.buffer, { transfer: [detached.buffer] });
  t.throws(() => native().tensorFrom(detached, [4], "float32"), { code: "ERR_INVALID_ARGUMENT" });
  const Buffers = ArrayBuffer as unknown as new (bytes: number, options: { maxByteLength: number }) => Resizable;
  const resizable = new Buffers(16, { maxByteLength: 32 });
  const view = new Float32Array(resizable, 0, 4);
  resizable.resize(8);
  t.throws(() => native().tensorFrom(view, [4], "float32"), { code: "ERR_INVALID_ARGUMENT" });
  const tracking = new Float32Array(resizable);
  resizable.resize(32);
  t.strictSame(native().tensorInfo(native().tensorFrom(tracking, [8], "float32")).shape, [8]);
  const shared = new Float32Array(new SharedArrayBuffer(8));
  t.throws(() => native().tensorFrom(shared, [2], "float32"), { code: "ERR_INVALID_ARGUMENT", message: /shared/ });
  t.strictSame(Tensor.from(shared).shape, [2], "TypeScript copies it first");
  t.end();
});

/** A state with one field changed. @see at::CPUGeneratorImplState */
function stateWith(change: (view: DataView) => void): Uint8Array {
  const generator = Generator.fromSeed(7);
  const state = Uint8Array.from(generator.getState());
  change(new DataView(state.buffer));
  return state;
}

t.test("a generator refuses a state that reads beyond its table, and stays as it was", (t) => {
  const LEFT = 8;
  const NEXT = 16;
  const TABLE = 24;
  const bad = {
    "left and next at the end": stateWith((view) => {
      view.setInt32(LEFT, 624, true);
      view.setBigUint64(NEXT, 624n, true);
    }),
    "next beyond what is left": stateWith((view) => view.setBigUint64(NEXT, 5n, true)),
    "left of 0": stateWith((view) => view.setInt32(LEFT, 0, true)),
    "a word of more than 32 bits": stateWith((view) => view.setBigUint64(TABLE, 2n ** 40n, true)),
    "not seeded": stateWith((view) => view.setInt32(LEFT + 4, 0, true)),
    "too short": new Uint8Array(100),
  };
  const generator = Generator.fromSeed(3);
  const before = generator.getState();
  for (const [name, state] of Object.entries(bad)) {
    t.throws(() => generator.setState(state), { code: "ERR_INVALID_ARGUMENT" }, name);
    t.strictSame(generator.getState(), before, `${name}: unchanged`);
  }
  t.end();
});

t.test("every state that a generator can be in is taken", (t) => {
  const generator = Generator.fromSeed(11);
  const copy = Generator.fromSeed(0);
  for (const count of [0, 1, 2, 15, 16, 17, 600, 623, 624, 625, 3000]) {
    if (count > 0) generator.randn([count]).dispose();
    copy.setState(generator.getState());
    t.strictSame(copy.getState(), generator.getState(), `after ${count} more`);
  }
  t.end();
});
