const { Tensor } = require("latent-diffusion");

console.log(Tensor.from([1], [1]).dataSync());
