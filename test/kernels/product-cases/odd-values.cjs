// Values that are large, tiny or not finite.
const { random, spoilt, conv, layer } = require("./builders.cjs");
const { addend, sum } = require("./addends.cjs");
const { linear } = require("./layers.cjs");

const ODD_VALUES = {
  "far from 0": () => ({ ...layer(40, 50, []), runs: [[random([3, 40, 7, 9], { mean: 1000 })]] }),
  "tiny values": () => ({
    ...layer(40, 50, []),
    runs: [1e-30, 1e-37, 1e-40].map((scale) => [random([3, 40, 7, 9], { scale })]),
    lines: (a) => [`return ${conv(a, a("x"), { bias: null })}`],
  }),
  "huge values": () => ({ ...layer(40, 50, []), runs: [[random([3, 40, 7, 9], { scale: 1e36 })]] }),
  // Then a smaller picture, which what the first has left behind must not reach.
  "not finite": () => ({
    ...layer(40, 50, []),
    runs: [[spoilt([3, 40, 17, 19], [NaN, Infinity, -Infinity])], [random([3, 40, 7, 9])], [random([1, 40, 1, 1])]],
  }),
  "linear, not finite": () => ({
    ...linear(40, 50, []),
    runs: [[spoilt([70, 40], [NaN, Infinity, -Infinity])], [random([33, 40])], [random([40])]],
  }),
  "added values not finite": () =>
    addend(sum, [], { extra: { runs: [[random([3, 40, 7, 9]), spoilt([3, 50, 7, 9], [NaN, Infinity, -Infinity])]] } }),
};

module.exports = { ODD_VALUES };
