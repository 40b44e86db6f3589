/** One wheel of a CUDA build. Name and hash are known beforehand, so it does not matter which mirror it comes from. */
export interface CudaWheel {
  /** The project's name on a package index. */
  readonly project: string;
  readonly version: string;
  /** The file's name. */
  readonly file: string;
  readonly bytes: number;
  /** Of the file, in hexadecimal. */
  readonly sha256: string;
}

/** A CUDA build of LibTorch: the wheel of `torch`, and those of NVIDIA's libraries that it needs. */
export interface CudaBuild {
  /** LibTorch's version. */
  readonly version: string;
  readonly wheels: readonly CudaWheel[];
  /** What is kept of the wheels takes so much, in bytes. */
  readonly unpackedBytes: number;
}

const LINUX_X64: CudaBuild = {
  version: "2.13.0",
  unpackedBytes: 3_786_980_490,
  wheels: [
    {
      project: "torch",
      version: "2.13.0",
      file: "torch-2.13.0-cp312-cp312-manylinux_2_28_x86_64.whl",
      bytes: 526605292,
      sha256: "796633c4cdf0fe2cdced72d8f88f22e73dbcfce83132763162f6d4bff13b820b",
    },
    {
      project: "nvidia-cublas",
      version: "13.1.1.3",
      file: "nvidia_cublas-13.1.1.3-py3-none-manylinux_2_27_x86_64.whl",
      bytes: 423138758,
      sha256: "37936a16db8fe4ac1f065c2139360608a543a09275cb1a1af612e08cfa065436",
    },
    {
      project: "nvidia-cuda-cupti",
      version: "13.0.85",
      file: "nvidia_cuda_cupti-13.0.85-py3-none-manylinux_2_25_x86_64.whl",
      bytes: 10715597,
      sha256: "4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8",
    },
    {
      project: "nvidia-cuda-nvrtc",
      version: "13.0.88",
      file: "nvidia_cuda_nvrtc-13.0.88-py3-none-manylinux2010_x86_64.manylinux_2_12_x86_64.whl",
      bytes: 90215200,
      sha256: "ad9b6d2ead2435f11cbb6868809d2adeeee302e9bb94bcf0539c7a40d80e8575",
    },
    {
      project: "nvidia-cuda-runtime",
      version: "13.0.96",
      file: "nvidia_cuda_runtime-13.0.96-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
      bytes: 2243632,
      sha256: "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548",
    },
    {
      project: "nvidia-cudnn-cu13",
      version: "9.20.0.48",
      file: "nvidia_cudnn_cu13-9.20.0.48-py3-none-manylinux_2_27_x86_64.whl",
      bytes: 366173588,
      sha256: "0c45dd8eeb50b603f07995b1b300c62ffe6a1980482b82b3bcf94a4ca9d49304",
    },
    {
      project: "nvidia-cufft",
      version: "12.0.0.61",
      file: "nvidia_cufft-12.0.0.61-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
      bytes: 214085489,
      sha256: "6c44f692dce8fd5ffd3e3df134b6cdb9c2f72d99cf40b62c32dde45eea9ddad3",
    },
    {
      project: "nvidia-cufile",
      version: "1.15.1.6",
      file: "nvidia_cufile-1.15.1.6-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
      bytes: 1223672,
      sha256: "08a3ecefae5a01c7f5117351c64f17c7c62efa5fffdbe24fc7d298da19cd0b44",
    },
    {
      project: "nvidia-curand",
      version: "10.4.0.35",
      file: "nvidia_curand-10.4.0.35-py3-none-manylinux_2_27_x86_64.whl",
      bytes: 59544258,
      sha256: "1aee33a5da6e1db083fe2b90082def8915f30f3248d5896bcec36a579d941bfc",
    },
    {
      project: "nvidia-cusolver",
      version: "12.0.4.66",
      file: "nvidia_cusolver-12.0.4.66-py3-none-manylinux_2_27_x86_64.whl",
      bytes: 200941980,
      sha256: "0a759da5dea5c0ea10fd307de75cdeb59e7ea4fcb8add0924859b944babf1112",
    },
    {
      project: "nvidia-cusparse",
      version: "12.6.3.3",
      file: "nvidia_cusparse-12.6.3.3-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
      bytes: 145942937,
      sha256: "2b3c89c88d01ee0e477cb7f82ef60a11a4bcd57b6b87c33f789350b59759360b",
    },
    {
      project: "nvidia-cusparselt-cu13",
      version: "0.8.1",
      file: "nvidia_cusparselt_cu13-0.8.1-py3-none-manylinux2014_x86_64.whl",
      bytes: 170148586,
      sha256: "786ce87568c303fadb5afcc7102d454cd3040d75f6f8626f5db460d1871f4dd0",
    },
    {
      project: "nvidia-nccl-cu13",
      version: "2.29.7",
      file: "nvidia_nccl_cu13-2.29.7-py3-none-manylinux_2_18_x86_64.whl",
      bytes: 205976000,
      sha256: "edd81538446786ec3b73972543e53bb43bcaf0bfc8ef76cb679fcc390ffe136d",
    },
    {
      project: "nvidia-nvjitlink",
      version: "13.5.37",
      file: "nvidia_nvjitlink-13.5.37-py3-none-manylinux2010_x86_64.manylinux_2_12_x86_64.whl",
      bytes: 46642491,
      sha256: "280d7cb9649704145f074b8dbde500de04ce02d0872e066e20a83c17bcaa93eb",
    },
    {
      project: "nvidia-nvshmem-cu13",
      version: "3.4.5",
      file: "nvidia_nvshmem_cu13-3.4.5-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
      bytes: 60412546,
      sha256: "290f0a2ee94c9f3687a02502f3b9299a9f9fe826e6d0287ee18482e78d495b80",
    },
    {
      project: "nvidia-nvtx",
      version: "13.0.85",
      file: "nvidia_nvtx-13.0.85-py3-none-manylinux1_x86_64.manylinux_2_5_x86_64.whl",
      bytes: 148047,
      sha256: "4936d1d6780fbe68db454f5e72a42ff64d1fd6397df9f363ae786930fd5c1cd4",
    },
  ],
};

/**
 * The CUDA builds by platform: what `torch` on PyPI and the metadata of `cuda-toolkit` 13.0.3 ask for, without what only Python uses (Triton).
 * `node scripts/check-cuda-wheel.mjs --table <folder>` writes the rows anew from a folder of wheels.
 */
export const CUDA_BUILDS: Readonly<Record<string, CudaBuild>> = { "linux-x64": LINUX_X64 };
