// Pictures over HTTP:   node examples/serve.mjs [checkpoint folder]   then open http://localhost:3000/?seed=7
import { createServer } from "node:http";
import { LDMPipeline } from "latent-diffusion";

const [checkpoint = "models/demo"] = process.argv.slice(2);
const pipe = await LDMPipeline.fromPretrained(checkpoint);

const server = createServer(async (request, response) => {
  const gone = new AbortController();
  response.on("close", () => gone.abort()); // nobody draws for a browser that has left
  try {
    const seed = Number(new URL(request.url, "http://localhost").searchParams.get("seed") ?? 0);
    const { images } = await pipe.generate({ seed, numInferenceSteps: 10, signal: gone.signal });
    response.setHeader("content-type", "image/png").end(await images[0].toBuffer("png"));
  } catch (error) {
    const isTheirs = ["ERR_INVALID_URL", "ERR_INVALID_ARGUMENT"].includes(error.code);
    response.writeHead(isTheirs ? 400 : 500).end(`${error.message}\n`);
  }
});
server.listen(process.env.PORT ?? 3000, () => console.log(`http://localhost:${server.address().port}/?seed=7`));
