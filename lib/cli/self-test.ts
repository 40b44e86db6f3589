import { DDIMScheduler, Generator, LDMPipeline, UNet2DModel, VQModel } from "../index.js";

/** What the self-test found. */
export interface SelfTest {
  readonly passed: boolean;
  /** The largest difference of a colour value from the known picture, 0 to 255. */
  readonly largestDifference: number;
  /** What CPUs may differ by, in the same unit. */
  readonly tolerance: number;
  readonly seconds: number;
}

/** Kernels differ in last digits from CPU to CPU; a value that lies between two levels may be rounded to either. */
const TOLERANCE = 2;

/** Of both networks of the self-test. */
const SHARED = {
  sample_size: 8,
  in_channels: 3,
  out_channels: 3,
  layers_per_block: 1,
  block_out_channels: [32],
  norm_num_groups: 8,
};

/** 8 x 8 pixels of RGB, as five steps of the networks below make them from seed 0, over LibTorch 2.13.0 on an x86-64 CPU. */
const KNOWN_PICTURE =
  "dYlhfp4/oGZXeG40iHMrhHlGjWZAW3iDYqB0bbljjIKTXpSCaaV4eINfg4dcQEana8duiMpgtmyCdnh2nm5fb0xni3OOYEK9oMtJts5u" +
  "x3iCfJ1onqtwdIB4a4ZtKGGkpdxMkfJDobZje7Ncpa9geYxxeZNtSGOpnbhyn62PhZS8gpyRmqtkkImKYZ2CUmzSx9F+t/+rndWyjPF+" +
  "n+2cn/q6auikW47Tkpt+mKaDn5agk693rMCMmrKPgL2NZ5io";

/**
 * Make a known picture with tiny networks of random weights from a fixed seed, as stock PyTorch computes it.
 * @returns how far it is from what it should be
 * @throws whatever keeps networks from running here
 */
export async function runSelfTest(): Promise<SelfTest> {
  const begun = performance.now();
  const picture = await makePicture();
  const known = Buffer.from(KNOWN_PICTURE, "base64");
  let largestDifference = picture.length === known.length ? 0 : 255;
  for (const [i, value] of known.entries())
    largestDifference = Math.max(largestDifference, Math.abs(value - (picture[i] ?? 0)));
  const seconds = (performance.now() - begun) / 1000;
  return { passed: largestDifference <= TOLERANCE, largestDifference, tolerance: TOLERANCE, seconds };
}

async function makePicture(): Promise<Uint8Array> {
  const generator = Generator.fromSeed(0);
  const options = { generator, optimize: false };
  const unet = await UNet2DModel.fromConfig(
    { ...SHARED, down_block_types: ["DownBlock2D"], up_block_types: ["UpBlock2D"] },
    options,
  );
  const vqvae = await VQModel.fromConfig(
    {
      ...SHARED,
      latent_channels: 3,
      num_vq_embeddings: 32,
      scaling_factor: 1,
      down_block_types: ["DownEncoderBlock2D"],
      up_block_types: ["UpDecoderBlock2D"],
    },
    options,
  );
  const pipe = new LDMPipeline({ unet, vqvae, scheduler: new DDIMScheduler({}) });
  try {
    const { images } = await pipe.generate({ seed: 0, numInferenceSteps: 5, eta: 1 });
    return images[0]?.data ?? new Uint8Array();
  } finally {
    pipe.dispose();
    generator.dispose();
  }
}
