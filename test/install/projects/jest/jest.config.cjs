module.exports = { testMatch: ["<rootDir>/*.test.js"], testTimeout: 60_000 };
