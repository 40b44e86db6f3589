const shared = { mode: "production", target: "node20" };

module.exports = [
  {
    ...shared,
    name: "outside",
    entry: "./main.mjs",
    experiments: { outputModule: true },
    output: { filename: "main.mjs", module: true, chunkFormat: "module", library: { type: "module" } },
    externals: { "latent-diffusion": "module latent-diffusion" },
  },
  {
    ...shared,
    name: "swallowed",
    entry: "./swallowed.cjs",
    output: { filename: "swallowed.cjs" },
    externals: { sharp: "commonjs sharp" },
  },
];
