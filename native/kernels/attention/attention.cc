#include "kernels/attention/attention.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/scaled_dot_product_attention.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "kernels/convolution/amx_kernels.h"
#include "kernels/divide_up.h"
#include "kernels/scratch.h"
#include "kernels/shared_work.h"
#include "kernels/simd/cpu_kernels.h"

namespace latent_diffusion {
namespace {

// Heads are packed together up to this size; one larger head is packed by itself.
constexpr int64_t kPackedFloats = 4 << 20;
// A block of keys and their values should stay in a core's second-level cache for all panels of
// queries.
constexpr int64_t kBlockFloats = 64 << 10;
// A block of keys is a multiple of this, if there are enough.
constexpr int64_t kMostKeys = 128;
// Panels that share a block of keys while it is in the caches, and the least share of a thread.
constexpr int64_t kMostPanels = 8;
constexpr int64_t kTasksPerThread = 8;
// With fewer products, waking another thread does not pay.
constexpr int64_t kFewProducts = 1 << 17;

thread_local Scratch packed_scratch;
thread_local Scratch query_scratch;

// One of q, k, v or the result: how to find the rows of a head from `data`.
template <typename Byte>
class Rows {
 public:
  Rows(Byte* data, const at::Tensor& tensor)
      : data_(data),
        element_size_(static_cast<int64_t>(tensor.element_size())),
        heads_(tensor.size(1)),
        batch_stride_(tensor.stride(0)),
        head_stride_(tensor.stride(1)),
        stride_(tensor.stride(2)) {}

  // In elements.
  int64_t Stride() const { return stride_; }

  // Heads are numbered along the batch.
  Byte* At(int64_t head, int64_t row) const {
    return data_ + element_size_ * (head / heads_ * batch_stride_ + head % heads_ * head_stride_ +
                                    row * stride_);
  }

 private:
  Byte* data_;
  int64_t element_size_, heads_, batch_stride_, head_stride_, stride_;
};

class Calculation {
 public:
  Calculation(const AttentionKernels& kernels, const at::Tensor& q, const at::Tensor& k,
              const at::Tensor& v, const at::Tensor& output, double scale)
      : kernels_(kernels),
        q_(static_cast<const char*>(q.const_data_ptr()), q),
        k_(static_cast<const char*>(k.const_data_ptr()), k),
        v_(static_cast<const char*>(v.const_data_ptr()), v),
        output_(static_cast<char*>(output.mutable_data_ptr()), output),
        heads_(q.size(0) * q.size(1)),
        queries_(q.size(2)),
        keys_(k.size(2)),
        size_(q.size(3)),
        scale_(static_cast<float>(scale * std::numbers::log2e)),
        key_block_(KeysInBlock(kernels.key_step, keys_, size_)),
        blocks_(DivideUp(keys_, key_block_)),
        packed_floats_(kernels.packed_floats(size_, key_block_)) {}

  void Run() const {
    const int64_t together =
        std::max<int64_t>(1, kPackedFloats / FloatCount({blocks_, packed_floats_}));
    for (int64_t head = 0; head < heads_; head += together)
      RunHeads(head, std::min(together, heads_ - head));
    packed_scratch.Trim();
  }

 private:
  static int64_t KeysInBlock(int64_t step, int64_t keys, int64_t size) {
    const int64_t fit = std::max<int64_t>(1, kBlockFloats / kMostKeys / size) * kMostKeys;
    return std::min(fit, DivideUp(keys, step) * step);
  }

  void RunHeads(int64_t first, int64_t count) const {
    float* const packed =
        packed_scratch.Floats(static_cast<size_t>(FloatCount({count, blocks_, packed_floats_})));
    // In double: this product can exceed an integer; memory bounds all others.
    const bool few = static_cast<double>(count * queries_ * size_) * static_cast<double>(keys_) <
                     static_cast<double>(kFewProducts);
    const int64_t packs = count * blocks_;
    at::parallel_for(0, packs, few ? packs : 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; i++)
        Pack(first + i / blocks_, i % blocks_, packed + i * packed_floats_);
    });
    const int64_t share = QueriesOfTask(count);
    const int64_t shares = DivideUp(queries_, share);
    const int64_t tasks = count * shares;
    const auto work = [&](const auto& take) {
      float* const scratch =
          query_scratch.Floats(static_cast<size_t>(kernels_.scratch_floats(size_, share)));
      while (const auto i = take()) {
        Attend(first + *i / shares, *i % shares * share, share,
               packed + *i / shares * blocks_ * packed_floats_, scratch);
      }
    };
    ShareWork(tasks, few ? 1 : at::get_num_threads(), work);
  }

  int64_t QueriesOfTask(int64_t heads) const {
    const int64_t wanted = kTasksPerThread * at::get_num_threads();
    int64_t panels = kMostPanels;
    while (panels > 1 && heads * DivideUp(queries_, panels * kernels_.panel) < wanted) panels /= 2;
    return panels * kernels_.panel;
  }

  void Pack(int64_t head, int64_t block, float* packed) const {
    const int64_t key = block * key_block_;
    kernels_.pack({k_.At(head, key), k_.Stride(), v_.At(head, key), v_.Stride(),
                   std::min(key_block_, keys_ - key), size_, key_block_, packed});
  }

  void Attend(int64_t head, int64_t query, int64_t count, const float* packed,
              float* scratch) const {
    kernels_.attend({q_.At(head, query), q_.Stride(), std::min(count, queries_ - query), packed,
                     keys_, size_, key_block_, scale_, output_.At(head, query), output_.Stride(),
                     scratch});
  }

  const AttentionKernels& kernels_;
  const Rows<const char> q_, k_, v_;
  const Rows<char> output_;
  const int64_t heads_, queries_, keys_, size_;
  const float scale_;
  const int64_t key_block_, blocks_, packed_floats_;
};

const AttentionKernels* FindKernels(c10::ScalarType dtype, int64_t size) {
  if (dtype != at::kFloat && dtype != at::kBFloat16) return nullptr;
  const ElementType type = dtype == at::kBFloat16 ? kBFloat16 : kFloat32;
  const AmxKernels* const amx = FindAmxKernels();
  // Tiles hold 32 elements. Three products of mostly empty tiles are slower than vectors.
  if (amx != nullptr && (type == kBFloat16 || size > 8)) return &amx->attention[type];
  const CpuKernels* const kernels = FindCpuKernels();
  return kernels != nullptr ? &kernels->attention[type] : nullptr;
}

bool Fits(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  return q.dim() == 4 && k.dim() == 4 && q.numel() > 0 && k.numel() > 0 && k.sizes() == v.sizes() &&
         q.size(0) == k.size(0) && q.size(1) == k.size(1) && q.size(3) == k.size(3) &&
         k.scalar_type() == q.scalar_type() && v.scalar_type() == q.scalar_type();
}

at::Tensor WithDenseRows(const at::Tensor& tensor) {
  return tensor.stride(3) == 1 ? tensor : tensor.contiguous();
}

}  // namespace

at::Tensor Attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     std::optional<double> scale) {
  const AttentionKernels* const kernels =
      Fits(q, k, v) ? FindKernels(q.scalar_type(), q.size(3)) : nullptr;
  // The largest product must get the largest weight.
  const bool rises = !scale || (*scale > 0 && *scale < std::numeric_limits<float>::max());
  if (kernels == nullptr || !rises) {
    return at::scaled_dot_product_attention(q, k, v, /*attn_mask=*/{}, /*dropout_p=*/0.0,
                                            /*is_causal=*/false, scale);
  }
  const at::Tensor output =
      at::empty({q.size(0), q.size(2), q.size(1), q.size(3)}, q.options()).transpose(1, 2);
  Calculation(*kernels, WithDenseRows(q), WithDenseRows(k), WithDenseRows(v), output,
              scale.value_or(1 / std::sqrt(static_cast<double>(q.size(3)))))
      .Run();
  return output;
}

}  // namespace latent_diffusion
