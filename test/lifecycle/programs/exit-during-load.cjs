// A TorchScript file whose loading never ends does not keep a process from its exit.
const { join } = require("node:path");
const { ScriptModule } = require(join(__dirname, "..", "..", "..", "dist", "index.js"));

const path = join(__dirname, "..", "..", "fixtures", "torchscript", "endless.pt");
ScriptModule.load(path, { trusted: true }).then(
  () => console.log("loaded"),
  (error) => console.log(error.message),
);
setTimeout(() => process.exit(7), 1000);
