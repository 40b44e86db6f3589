// The kernel table of one instruction set. Included by the files of simd/ only.
#pragma once

#include "kernels/attention/attention_vectors.h"
#include "kernels/codes/nearest_codes_kernel.h"
#include "kernels/convolution/direct_kernel.h"
#include "kernels/convolution/epilogue_kernel.h"
#include "kernels/convolution/winograd_kernel.h"
#include "kernels/norm/group_norm_kernel.h"

namespace latent_diffusion {
namespace {

constexpr CpuKernels kKernels = {
    kLanes,
    kPanel,
    kRows,
    {{TransformInputTile<2, float>, TransformInputTile<2, BFloat16>},
     {TransformInputTile<4, float>, TransformInputTile<4, BFloat16>}},
    {{TransformOutputTile<2, float>, TransformOutputTile<2, BFloat16>},
     {TransformOutputTile<4, float>, TransformOutputTile<4, BFloat16>}},
    Multiply,
    {AddTapsOfRow<float>, AddTapsOfRow<BFloat16>},
    {StorePixelsOf<float>, StorePixelsOf<BFloat16>},
    {WidenValues<float>, WidenValues<BFloat16>},
    {Moments<float>, Moments<BFloat16>},
    {{ScalePixels<float, false>, ScalePixels<BFloat16, false>},
     {ScalePixels<float, true>, ScalePixels<BFloat16, true>}},
    SearchCodes,
    {kAttentionKernels<VectorProducts<float>>, kAttentionKernels<VectorProducts<BFloat16>>},
};

}  // namespace
}  // namespace latent_diffusion
