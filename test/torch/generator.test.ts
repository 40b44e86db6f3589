import { inspect } from "node:util";
import t from "tap";
import { Generator } from "../../lib/index.js";

t.test("a seed gives PyTorch's numbers", (t) => {
  // torch.randn(4, generator=torch.Generator().manual_seed(0)), printed with repr of each item
  const expected = [1.5409960746765137, -0.293428897857666, -2.1787893772125244, 0.5684312582015991];
  t.strictSame([...Generator.fromSeed(0).randn([4]).dataSync()], expected);
  // torch.rand(2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
  t.strictSame(
    [...Generator.fromSeed(1).rand([2], { dtype: "float64" }).dataSync()],
    [0.06105327471962363, 0.2245545065676504],
  );
  t.end();
});

t.test("the state goes on, comes out and goes in", (t) => {
  const generator = Generator.fromSeed(7);
  generator.randn([5]);
  const state = generator.getState();
  t.equal(state.length, 5056);
  const next = generator.randn([20]).dataSync();
  t.strictSame(generator.setState(state).randn([20]).dataSync(), next);
  t.notSame(generator.randn([20]).dataSync(), next);
  const copy = generator.clone();
  t.strictSame(copy.randn([3]).dataSync(), generator.randn([3]).dataSync());
  t.end();
});

t.test("seeds are PyTorch's: 64 bits, negative ones from the top", (t) => {
  t.equal(Generator.fromSeed(2n ** 64n - 1n).seed, 2n ** 64n - 1n);
  t.equal(Generator.fromSeed(-1).seed, 2n ** 64n - 1n);
  for (const seed of [1.5, 2 ** 60, 2n ** 64n, -(2n ** 63n) - 1n, "0", undefined, NaN]) {
    t.throws(() => Generator.fromSeed(seed as never), { code: "ERR_INVALID_ARGUMENT", message: /seed/ });
  }
  t.end();
});

t.test("a state that is none is refused and changes nothing", (t) => {
  const generator = Generator.fromSeed(3);
  const before = generator.getState();
  t.throws(() => generator.setState(new Uint8Array(10)), {
    code: "ERR_INVALID_ARGUMENT",
    message: /Not a state|Expected the 5056 bytes/,
  });
  t.throws(() => generator.setState([1] as never), { code: "ERR_INVALID_ARGUMENT" });
  t.throws(() => generator.setState(new Uint8Array(5056).fill(255)), { code: "ERR_INVALID_ARGUMENT" });
  t.strictSame(generator.getState(), before);
  t.end();
});

t.test("bad shapes, dtypes and devices are refused", (t) => {
  const generator = Generator.fromSeed(0);
  t.throws(() => generator.randn([1.5]), { code: "ERR_INVALID_ARGUMENT" });
  t.throws(() => generator.randn([1], { dtype: "int64" }), { code: "ERR_TORCH" });
  t.throws(() => Generator.fromSeed(0, { device: "tpu" as never }), { code: "ERR_INVALID_ARGUMENT" });
  t.end();
});

t.test("dispose", (t) => {
  const generator = Generator.fromSeed(0);
  generator.dispose();
  generator.dispose();
  t.throws(() => generator.randn([1]), { code: "ERR_DISPOSED" });
  t.match(inspect(generator), "disposed");
  t.match(inspect(Generator.fromSeed(5)), "Generator(cpu, seed 5)");
  t.end();
});

t.test("a state of PyTorch before version 1.6 is refused, as LibTorch refuses it, and the generator goes on", (t) => {
  const generator = Generator.fromSeed(5);
  const state = generator.getState();
  t.equal(state.length, 5056);
  // The older form of 5048 bytes lacks a cached float.
  for (const length of [0, 5047, 5048, 5049, 5055]) {
    t.throws(() => generator.setState(state.slice(0, length)), { code: "ERR_INVALID_ARGUMENT", message: /5056/ });
  }
  t.strictSame(generator.rand([700]).dataSync(), Generator.fromSeed(5).rand([700]).dataSync());
  t.end();
});
