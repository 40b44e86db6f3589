// Which room of lib/ may import which. docs/architecture.md shows the same table, and a test holds the two against each other.

/** Each room and the rooms that it may import. Every room may also import `errors` and `validate`. */
export const ROOMS = {
  errors: [],
  validate: [],
  native: [],
  files: ["native"],
  config: ["files"],
  torch: ["files", "native"],
  hub: ["config", "files", "native"],
  checkpoint: ["hub", "torch", "config", "files", "native"],
  image: ["hub", "checkpoint", "torch", "config", "files", "native"],
  models: ["hub", "checkpoint", "torch", "config", "files", "native"],
  schedulers: ["hub", "checkpoint", "torch", "config", "files", "native"],
  pipelines: ["models", "schedulers", "image", "hub", "checkpoint", "torch", "config", "files", "native"],
  index: ["pipelines", "models", "schedulers", "image", "hub", "checkpoint", "torch", "config", "files", "native"],
  cli: ["index", "pipelines", "schedulers", "image", "hub", "checkpoint", "torch", "config", "files", "native"],
};

/** A room is a folder of lib/, or a file of the same name. */
const pathOf = (rooms) => `^lib/(${rooms.join("|")})(/|\\.ts$)`;

const directions = Object.entries(ROOMS).map(([room, allowed]) => ({
  name: `${room}-imports`,
  severity: "error",
  comment: `lib/${room} may import ${["errors", "validate", ...allowed].join(", ")}`,
  from: { path: pathOf([room]) },
  to: { path: "^lib/", pathNot: pathOf([room, "errors", "validate", ...allowed]) },
}));

export default {
  forbidden: [
    ...directions,
    {
      name: "known-room",
      severity: "error",
      comment: "Every file of lib/ belongs to a room of this table",
      from: { path: "^lib/", pathNot: pathOf(Object.keys(ROOMS)) },
      to: {},
    },
    {
      name: "no-cycle",
      severity: "error",
      comment: "Files that import each other can only be understood together",
      from: { path: "^lib/" },
      to: { circular: true, viaOnly: { dependencyTypesNot: ["type-only"] } },
    },
    {
      name: "no-orphan",
      severity: "error",
      comment: "Nothing imports this file",
      from: { orphan: true, path: "^lib/", pathNot: ["\\.d\\.ts$", "^lib/index\\.ts$", "^lib/cli/main\\.ts$"] },
      to: {},
    },
  ],
  options: {
    doNotFollow: { path: "node_modules" },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: "tsconfig.json" },
    enhancedResolveOptions: { extensions: [".ts", ".js"] },
  },
};
