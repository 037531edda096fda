#pragma once

#include <span>
#include <utility>
#include <vector>

#include "runtime/kernels/int8/kernels.hpp"
#include "runtime/native/builder.hpp"

namespace rdquant::runtime::native {

inline constexpr kernels::Index kGrain = 8192;     ///< bytes that are worth a thread
inline constexpr kernels::Index kItemPixels = 64;  ///< of an item of kernels from floats to levels and back

/// Our own kernels for levels, of the instruction set of float_kernels().
[[nodiscard]] const kernels::Int8Kernels& int8_kernels();

/// How levels lie: channels last, or one after the other.
struct Int8Layout {
  kernels::Index images, area, channels, pixel, image;  ///< of bytes
};
[[nodiscard]] Int8Layout int8_layout_of(const Builder& builder, program::ValueId id);
[[nodiscard]] Int8Layout int8_layout_of(const Builder& builder, program::ValueId id, Layout layout);

/// Arguments of a kernel for a sum or product of `a` and `b`.
[[nodiscard]] kernels::Int8Sum int8_sum(const program::Int8Binary& sum, const program::Value& a,
                                        const program::Value& b);
/// The level that a byte is.
[[nodiscard]] std::int32_t int8_at(const void* byte, bool is_signed);

/// Whether something needs the range of `id`, or of what `id` is a part of.
[[nodiscard]] bool is_ranged(const Builder& builder, program::ValueId id);
/// Where the min_max of `id` are, in parts (Builder::make_min_max); empty where they are not computed.
[[nodiscard]] std::vector<Place> find_min_max(const Builder& builder, program::ValueId id);
/// Least and greatest of floats whose min_max `threads` threads have left in parts, and of 0.
[[nodiscard]] std::pair<float, float> range_of(std::span<void* const> min_max, int threads);

/// Lowers maxima of whole rows of plain levels; false, and nothing added, for other windows.
[[nodiscard]] bool build_int8_rows(Builder& builder, const program::Step& step);

/// Lowers a sum or product of levels that is_image_binary; false, and nothing added, for others.
bool build_int8_gate(Builder& builder, const program::Step& step);
/// Lowers a Resize that is_int8_resize.
bool build_int8_resize(Builder& builder, const program::Step& step);
/// Lowers the mean of whole images of levels channels last, as floats.
bool build_int8_mean(Builder& builder, const program::Step& step);
/// Lowers a batch normalization together with the Quantize that is all that reads it.
bool build_int8_affine(Builder& builder, const program::Step& step);
/// Rules for Quantize, Dequantize and DynamicQuantize.
bool build_quantize(Builder& builder, const program::Step& step);
bool build_dequantize(Builder& builder, const program::Step& step);
bool build_dynamic_quantize(Builder& builder, const program::Step& step);

}  // namespace rdquant::runtime::native
