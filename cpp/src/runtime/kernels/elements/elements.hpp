#pragma once

#include <array>
#include <cstddef>

#include "rdquant/core/cpu.hpp"

/// Loops over elements that are not all float32: integers, booleans, comparisons, choices, conversions. They allocate
/// nothing, start no threads, and give what the definition does, to the bit.
namespace rdquant::runtime::kernels {

using Index = std::ptrdiff_t;

enum class ElementType {
  f32,
  i32,
  i64,
  u8,
  i8,
  boolean
};  ///< boolean: a byte of which "zero or not" is read

/// Functions of two elements, and a choice by a boolean between two.
enum class ElementFunction {
  add,  ///< of i32 and i64, as are those up to bitwise_xor; what overflows wraps
  sub,
  mul,
  div,   ///< towards zero; 0 by 0
  mod,   ///< sign of the divisor; 0 by 0
  fmod,  ///< sign of the dividend; 0 by 0
  min,
  max,
  bitwise_and,
  bitwise_or,
  bitwise_xor,
  equal,  ///< of any type but u8 and i8, to booleans, as are those that follow
  less,
  less_equal,
  greater,
  greater_equal,
  logical_and,  ///< of booleans
  logical_or,
  logical_xor,
  where,  ///< a ? b : c, of which a is boolean; by the width of f32, i64 or boolean
};

/// Rows of results one after the other, of operands whose rows lie `row` elements apart. Along a row the operands step
/// by 1, or by 0: the same element everywhere.
struct ElementRows {
  std::array<const void*, 3> from;
  std::array<Index, 3> row, step;
  void* to;
  Index rows, count;
};

/// The kernels of one instruction set. Results must not overlap operands.
struct Elements {
  void (*apply)(ElementFunction f, ElementType type, const ElementRows& rows);
  /// to[i] = from[i], floats towards zero and to the nearest end of the range, NaN to 0; integers keep their low bits.
  void (*convert)(ElementType from, ElementType to, const void* x, void* y, Index n);
  /// y[i] = x[i], float32 of float16 or, where `brain`, of bfloat16; and back, to the nearest, ties to even.
  void (*widen)(bool brain, const void* x, void* y, Index n);
  void (*narrow)(bool brain, const void* x, void* y, Index n);
  /// y[i] = x[i] is zero, of booleans.
  void (*negate)(const void* x, void* y, Index n);
  /// y[i] = x[i] is not a number, of float32.
  void (*is_nan)(const void* x, void* y, Index n);
};

/// The kernels for `isa`, which this processor must have (core::available_isa).
[[nodiscard]] const Elements& elements(core::Isa isa);

}  // namespace rdquant::runtime::kernels
