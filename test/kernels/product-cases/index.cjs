// All cases of products.cjs, by name. The order counts: inputs come from one generator.
const { ADDENDS } = require("./addends.cjs");
const { generator } = require("./builders.cjs");
const { ENLARGED } = require("./enlarged.cjs");
const { FEW_PIXELS } = require("./few-pixels.cjs");
const { LAYERS } = require("./layers.cjs");
const { LEFT_ALONE } = require("./left-alone.cjs");
const { NORMS } = require("./norms.cjs");
const { ODD_VALUES } = require("./odd-values.cjs");

const CASES = { ...LAYERS, ...ADDENDS, ...NORMS, ...ENLARGED, ...ODD_VALUES, ...FEW_PIXELS, ...LEFT_ALONE };

module.exports = { CASES, generator };
