#pragma once

#include "runtime/kernels/int8/kernels.hpp"

/// Products of float32 vectors with rows of int8 weights by instructions for bytes, about as exact as float32's own.
///
/// An element of a vector becomes a whole number of 24 bits, in a unit that the largest of them sets; that is three
/// digits to the base 256, each of which multiplies the weights for itself. The sums are exact.
namespace rdquant::runtime::kernels {

struct DigitArgs {
  const std::byte* packed = nullptr;
  Index rows = 0, depth = 0;
  const std::uint8_t* digits = nullptr;  ///< of `batch` vectors, one after the other
  const float* units = nullptr;          ///< [batch]
  Index batch = 0;
  const float* scales = nullptr;  ///< [rows] of the weights
  const float* added = nullptr;   ///< like y; or null
  float* y = nullptr;             ///< product of vector b and row r at y[b·y_row + r]
  Index y_row = 0;
};

/// The kernels of one instruction set.
struct DigitKernels {
  Index rows;  ///< of an item
  /// Bytes of packed weights, and of the digits of one vector.
  Index (*packed_bytes)(Index rows, Index depth);
  Index (*digit_bytes)(Index depth);
  /// From plain [rows][depth].
  void (*pack)(const std::int8_t* weights, Index rows, Index depth, std::byte* packed);
  /// Digits of a vector; gives the unit, which is not a number where an element is none or infinite.
  float (*split)(const float* x, Index depth, std::uint8_t* digits);
  /// Items: ⌈rows / `rows`⌉.
  void (*run)(const DigitArgs& args, Index begin, Index end);
};

inline constexpr Index kMostDigitDepth = Index{1} << 15U;  ///< of which int32 holds all sums

/// The kernels where they are faster than float32's, which takes instructions for products of bytes; else null.
/// `isa` must be one that this processor has.
[[nodiscard]] const DigitKernels* digit_kernels(core::Isa isa);

}  // namespace rdquant::runtime::kernels
