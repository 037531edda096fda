#include "runtime/kernels/float32/kernels.hpp"

#include <string>

#include "rdquant/core/error.hpp"
#include "runtime/kernels/float32/tables.hpp"

namespace rdquant::runtime::kernels {
namespace {

Kernels join(core::Isa isa, const std::array<ConvolutionTable, 3>& methods,
             decltype(Kernels::few_channels_pooled) few_channels_pooled, const LayerTable& layers) {
  return {.isa = isa,
          .block = layers.block,
          .convolutions = methods,
          .few_channels_pooled = few_channels_pooled,
          .pool = layers.pool,
          .global_average = layers.global_average,
          .unary = layers.unary,
          .binary = layers.binary,
          .binary_channels = layers.binary_channels,
          .softmax = layers.softmax,
          .softmax_columns = layers.softmax_columns,
          .linear = layers.linear,
          .resize = layers.resize,
          .to_blocked = layers.to_blocked,
          .to_plain = layers.to_plain,
          .transpose = layers.transpose,
          .copy_rows = layers.copy_rows};
}

}  // namespace

ConvPlan Kernels::plan(const ConvShape& s, ConvMethod method) const {
  const bool sizes = s.n > 0 && s.c > 0 && s.h > 0 && s.w > 0 && s.k > 0 && s.kh > 0 && s.kw > 0;
  const bool steps = s.sh > 0 && s.sw > 0 && s.dh > 0 && s.dw > 0;
  const bool pads = s.top >= 0 && s.left >= 0 && s.bottom >= 0 && s.right >= 0;
  core::require(sizes && steps && pads,
                "convolution: sizes, strides and dilations must be positive, pads not negative");
  core::require(s.groups > 0 && s.c % s.groups == 0 && s.k % s.groups == 0,
                "convolution: the number of groups must divide channels and filters");
  const bool fits = s.h + s.top + s.bottom > s.dh * (s.kh - 1) && s.w + s.left + s.right > s.dw * (s.kw - 1);
  core::require(fits, "convolution: the kernel is larger than the padded image");
  return table(method).plan(s);
}

const Kernels& kernels(core::Isa isa) {
  if (isa > core::available_isa()) {
    throw core::InvalidArgument("kernels for " + std::string(core::isa_name(isa)) +
                                " asked: this processor offers " +
                                std::string(core::isa_name(core::available_isa())));
  }
#if defined(__x86_64__)
  static const Kernels avx2_kernels =
      join(core::Isa::avx2, {avx2::depthwise, avx2::few_channels, avx2::dense}, avx2::few_channels_pooled,
           avx2::layers);
  static const Kernels avx512_kernels =
      join(core::Isa::avx512, {avx512::depthwise, avx512::few_channels, avx512::dense},
           avx512::few_channels_pooled, avx512::layers);
  if (isa == core::Isa::avx512) return avx512_kernels;
  if (isa == core::Isa::avx2) return avx2_kernels;
#endif
  static const Kernels baseline_kernels =
      join(core::Isa::baseline, {baseline::depthwise, baseline::few_channels, baseline::dense},
           baseline::few_channels_pooled, baseline::layers);
  return baseline_kernels;
}

const Kernels& kernels() { return kernels(core::selected_isa()); }

}  // namespace rdquant::runtime::kernels
