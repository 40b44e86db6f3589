import t from "tap";
import {
  DDIMScheduler,
  EulerDiscreteScheduler,
  LDMPipeline,
  makeGrid,
  op,
  ScriptModule,
  Tensor,
  UNet2DModel,
} from "../../lib/index.js";

/** What throws at every look at it, `Array.isArray` and `instanceof` included. */
function revoked<T>(): T {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy as T;
}

const REFUSED = { code: "ERR_INVALID_ARGUMENT" };

t.test("a revoked proxy is a wrong argument as any other", async (t) => {
  const x = op("ones", [1, 3, 8, 8]);
  const euler = new EulerDiscreteScheduler({});
  euler.setTimesteps(3);
  t.throws(() => new DDIMScheduler(revoked<never>()), REFUSED);
  t.throws(() => DDIMScheduler.fromConfig({ trained_betas: revoked<never>() }), {
    code: /ERR_(CONFIG_UNSUPPORTED|INVALID_ARGUMENT)/,
  });
  t.throws(() => DDIMScheduler.fromConfig({ foreign_key: revoked<never>() }), REFUSED);
  t.throws(() => new DDIMScheduler({}).scaleModelInput(revoked<never>()), REFUSED);
  t.throws(() => euler.addNoise(x, x, revoked<never>()), REFUSED);
  t.throws(() => op("cat", revoked<never>(), 0), REFUSED);
  t.throws(() => Tensor.from(revoked<never>()), REFUSED);
  t.throws(
    () => new LDMPipeline({ unet: revoked<never>(), vqvae: revoked<never>(), scheduler: new DDIMScheduler({}) }),
    REFUSED,
  );
  t.throws(() => makeGrid(revoked<never>()), REFUSED);
  await t.rejects(UNet2DModel.fromConfig({ block_out_channels: revoked<never>() }), { code: "ERR_CONFIG_UNSUPPORTED" });
});

t.test("an array that only claims its length is refused at once", async (t) => {
  const sparse: never[] = [];
  sparse.length = 2 ** 32 - 1;
  t.throws(() => op("cat", sparse, 0), { ...REFUSED, message: /at most 65536/ });
  const source = "def forward(self, x):\n    return x";
  using module = await ScriptModule.define({ name: "Net", source, parameters: [], children: [] }, new Map());
  await t.rejects(module.call("forward", sparse), { ...REFUSED, message: /at most 65536/ });
});
