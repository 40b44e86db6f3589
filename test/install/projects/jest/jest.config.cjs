const shared = { testMatch: ["<rootDir>/*.test.js"] };
module.exports = {
  testTimeout: 60_000,
  projects: [
    { ...shared, displayName: "node", testEnvironment: "node" },
    { ...shared, displayName: "jsdom", testEnvironment: "jsdom" },
  ],
};
