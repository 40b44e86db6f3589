// argv[2]: how the main thread ends while a forward runs.
const { defineWork, LONG, matrix } = require("./common.cjs");

(async () => {
  const work = await defineWork();
  const pending = work.forward(matrix(), LONG);
  void work.forward(matrix(), LONG);
  await new Promise((resolve) => setTimeout(resolve, 30));
  switch (process.argv[2]) {
    case "exit":
      process.exit(7);
      break;
    case "throw":
      setTimeout(() => {
        throw new Error("on purpose");
      });
      break;
    case "wait":
      await pending;
      console.log("settled");
      break;
    case "dispose":
      work.dispose();
      console.log((await pending).shape.join());
      break;
  }
})();
