// `npm test`: does what is missing, then runs the tests offline. Arguments go to tap: `npm test -- test/torch/tensor.test.ts`.
import { runMain, setup } from "./setup.mjs";
import { runTap } from "./setup/tap.mjs";

await runMain(async () => {
  await setup();
  return (await runTap("unit", process.argv.slice(2))).code;
});
