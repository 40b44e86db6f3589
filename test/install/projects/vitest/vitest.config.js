export default { test: { include: ["*.test.js"], watch: false, testTimeout: 60_000 } };
