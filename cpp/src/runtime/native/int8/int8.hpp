#pragma once

#include <span>
#include <utility>
#include <vector>

#include "runtime/kernels/int8/kernels.hpp"
#include "runtime/native/builder.hpp"

namespace rdquant::runtime::onednn {

inline constexpr kernels::Index kGrain = 8192;  ///< bytes that are worth a thread

/// Our own kernels for levels, of the instruction set of own_kernels().
[[nodiscard]] const kernels::IntegerKernels& level_kernels();

/// How levels lie: channels last, or one after the other.
struct Lie {
  kernels::Index images, area, channels, pixel, image;  ///< of bytes
};
[[nodiscard]] Lie lie_of(const Builder& builder, program::ValueId id);

/// What a kernel is told of a sum or product of `a` and `b`.
[[nodiscard]] kernels::LevelSum level_sum(const program::LevelBinary& sum, const program::Value& a,
                                          const program::Value& b);
/// The level that a byte is.
[[nodiscard]] std::int32_t level_at(const void* byte, bool is_signed);

/// Whether a range that `id` is part of is asked for.
[[nodiscard]] bool is_ranged(const Builder& builder, program::ValueId id);
/// Where the extremes of `id` are, in parts (Builder::make_extremes); empty where nobody has found them.
[[nodiscard]] std::vector<Place> find_extremes(const Builder& builder, program::ValueId id);
/// Least and greatest of numbers whose extremes `threads` threads have left in parts, and of 0.
[[nodiscard]] std::pair<float, float> range_of(std::span<void* const> extremes, int threads);

/// Rules for Quantize, Dequantize and DynamicQuantize.
bool build_quantize(Builder& builder, const program::Step& step);
bool build_dequantize(Builder& builder, const program::Step& step);
bool build_dynamic_quantize(Builder& builder, const program::Step& step);

}  // namespace rdquant::runtime::onednn
