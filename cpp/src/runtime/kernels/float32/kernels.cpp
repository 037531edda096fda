#include "runtime/kernels/float32/kernels.hpp"

#include "runtime/kernels/float32/tables.hpp"
#include "simd/dispatch.hpp"

namespace rdquant::runtime::kernels {
namespace {

Kernels joined(core::Isa isa) {
  const LayerTable& layers = simd::variant(RDQUANT_VARIANTS(layers), isa);
  return {.isa = isa,
          .block = layers.block,
          .convolutions = {simd::variant(RDQUANT_VARIANTS(depthwise), isa),
                           simd::variant(RDQUANT_VARIANTS(few_channels), isa),
                           simd::variant(RDQUANT_VARIANTS(dense), isa)},
          .few_channels_pooled = simd::variant(RDQUANT_VARIANTS(few_channels_pooled), isa),
          .pool = layers.pool,
          .global_average = layers.global_average,
          .unary = layers.unary,
          .binary = layers.binary,
          .binary_rows = layers.binary_rows,
          .binary_channels = layers.binary_channels,
          .softmax = layers.softmax,
          .softmax_columns = layers.softmax_columns,
          .linear = layers.linear,
          .resize = layers.resize,
          .to_blocked = layers.to_blocked,
          .to_plain = layers.to_plain,
          .transpose = layers.transpose,
          .pick_lanes = layers.pick_lanes,
          .add_moved = layers.add_moved,
          .copy_rows = layers.copy_rows};
}

}  // namespace

std::optional<ConvPlan> Kernels::plan(const ConvShape& s, ConvMethod method) const {
  const bool sizes = s.n > 0 && s.c > 0 && s.h > 0 && s.w > 0 && s.k > 0 && s.kh > 0 && s.kw > 0;
  const bool steps = s.sh > 0 && s.sw > 0 && s.dh > 0 && s.dw > 0;
  const bool pads = s.top >= 0 && s.left >= 0 && s.bottom >= 0 && s.right >= 0;
  if (!sizes || !steps || !pads) return std::nullopt;
  if (s.groups <= 0 || s.c % s.groups != 0 || s.k % s.groups != 0) return std::nullopt;
  if (s.h + s.top + s.bottom <= s.dh * (s.kh - 1) || s.w + s.left + s.right <= s.dw * (s.kw - 1)) {
    return std::nullopt;
  }
  ConvPlan plan;
  if (!table(method).plan(s, plan)) return std::nullopt;
  return plan;
}

const Kernels& kernels(core::Isa isa) {
  simd::require_available(isa);
  static const std::array<Kernels, 3> all = {joined(core::Isa::baseline), joined(core::Isa::avx2),
                                             joined(core::Isa::avx512)};
  return all[static_cast<std::size_t>(isa)];
}

const Kernels& kernels() { return kernels(core::selected_isa()); }

}  // namespace rdquant::runtime::kernels
