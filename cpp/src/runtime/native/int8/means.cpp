// Means of whole images of levels as floats.
#include <algorithm>
#include <array>
#include <cstdint>

#include "runtime/native/float32/convolution.hpp"
#include "runtime/native/int8/int8.hpp"
#include "runtime/native/loops.hpp"

namespace rdquant::runtime::native {
namespace {

using kernels::Index;
using program::Step;
using program::ValueId;

/// Means of whole images of levels, as floats.
struct MeanWork {
  Int8Layout int8_layout;
  bool is_signed;
  std::int32_t zero;
  float scale;  ///< of levels, by the count
  int threads;

  void operator()(void* const* operand) const {
    const auto* x = static_cast<const std::uint8_t*>(operand[0]);
    auto* y = static_cast<float*>(operand[1]);
    const Index groups = kernels::divide(int8_layout.channels, kLanes);
    share(int8_layout.images * groups, 1, threads, [&](Index begin, Index end) {
      for (Index item = begin; item < end; ++item) {
        const Index first = item % groups * kLanes, count = std::min(kLanes, int8_layout.channels - first);
        mean(x + item / groups * int8_layout.image + first, count,
             y + item / groups * int8_layout.channels + first);
      }
    });
  }

 private:
  static constexpr Index kLanes = 64;
  static constexpr Index kPixels = 256;  ///< whose sum 16 bits hold

  void mean(const std::uint8_t* x, Index count, float* y) const {
    std::array<std::int64_t, kLanes> sums{};
    const std::uint8_t flip = is_signed ? 128 : 0;  // int8 plus 128
    for (Index first = 0; first < int8_layout.area; first += kPixels) {
      const Index pixels = std::min(kPixels, int8_layout.area - first);
      const auto some = count == kLanes ? sum(x, kLanes, pixels, flip) : sum(x, count, pixels, flip);
      for (Index c = 0; c < count; ++c)
        sums[static_cast<std::size_t>(c)] += some[static_cast<std::size_t>(c)];
      x += pixels * int8_layout.pixel;
    }
    const auto less = static_cast<std::int64_t>(int8_layout.area) * (zero + flip);
    for (Index c = 0; c < count; ++c)
      y[c] = static_cast<float>(sums[static_cast<std::size_t>(c)] - less) * scale;
  }

  /// Of up to kPixels pixels; inlined, so that a known count makes vectors of the loop.
  [[gnu::always_inline]] std::array<std::uint16_t, kLanes> sum(const std::uint8_t* x, Index count,
                                                               Index pixels, std::uint8_t flip) const {
    std::array<std::uint16_t, kLanes> sums{};
    for (Index pixel = 0; pixel < pixels; ++pixel, x += int8_layout.pixel) {
      for (Index c = 0; c < count; ++c) {
        std::uint16_t& one = sums[static_cast<std::size_t>(c)];
        one = static_cast<std::uint16_t>(one + (x[c] ^ flip));
      }
    }
    return sums;
  }
};

}  // namespace

bool build_int8_mean(Builder& builder, const Step& step) {
  const auto* op = std::get_if<program::Int8Pool>(&step.operation);
  const ValueId x = step.inputs[0], y = step.outputs[0];
  if (op == nullptr || builder.value(y).dtype != core::DType::f32) return false;
  const core::Shape& shape = builder.value(x).shape;
  const bool whole = std::equal(op->window.kernel.begin(), op->window.kernel.end(), shape.begin() + 2);
  if (!whole || builder.layout(x) != Layout::channels_last ||
      core::element_count(builder.value(y).shape) == 0)
    return false;
  const Int8Layout int8_layout = int8_layout_of(builder, x);
  builder.emit(make_native("mean", 2,
                           MeanWork{int8_layout, builder.value(x).dtype == core::DType::i8, op->x_zero,
                                    op->scale / static_cast<float>(int8_layout.area), builder.threads()}),
               {builder.read(x, Layout::channels_last), builder.write(y, Layout::plain)}, Layout::plain);
  return true;
}

}  // namespace rdquant::runtime::native
