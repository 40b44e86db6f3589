#define LATENT_DIFFUSION_VECTOR_BYTES 64
#define LATENT_DIFFUSION_VECTOR_REGISTERS 32
#include "kernels/attention/attention_amx.h"
#include "kernels/convolution/amx_tiles_kernel.h"
#include "kernels/convolution/epilogue_kernel.h"

namespace latent_diffusion {
namespace {

constexpr AmxKernels kKernels = {
    {SplitPixelsOf<float>, SplitPixelsOf<BFloat16>},
    BeginTiles,
    EndTiles,
    {MultiplyTilesOf<true>, MultiplyTilesOf<false>},
    {StorePixelsOf<float>, StorePixelsOf<BFloat16>},
    {kAttentionKernels<AmxProducts<float>>, kAttentionKernels<AmxProducts<BFloat16>>},
};

}  // namespace
}  // namespace latent_diffusion

const latent_diffusion::AmxKernels* latent_diffusion::CompiledAmxKernels() { return &kKernels; }
