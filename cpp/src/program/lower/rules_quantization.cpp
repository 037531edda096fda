// Levels and back: QuantizeLinear, DequantizeLinear, DynamicQuantizeLinear; sums of products of levels: ConvInteger,
// MatMulInteger.
#include <string>
#include <utility>
#include <vector>

#include "program/lower/lowering.hpp"

namespace rdquant::program {
namespace {

using core::DType;

bool is_int8(DType dtype) {
  return dtype == DType::u8 || dtype == DType::i8 || dtype == DType::u16 || dtype == DType::i16;
}

/// The axis along which scales differ; checks that scales and zero points are one number, or one for each of
/// its elements.
std::int64_t axis_of(Lowering& node, ValueId x, ValueId scale, ValueId zero) {
  if (node.integer("block_size", 0) != 0) node.unsupported("block_size");
  const core::Shape& scales = node.shape(scale);
  const std::int64_t count = core::element_count(scales);
  node.check(scales.size() < 2,
             "scales of shape " + core::shape_text(scales) + "; a number or a vector is allowed");
  node.check(zero == kNone || core::element_count(node.shape(zero)) == count,
             "as many zero points as scales are wanted");
  if (count == 1 && node.rank(x) == 0) return 0;
  const std::int64_t given = node.integer("axis", 1);
  if (count == 1 && (given >= node.rank(x) || given < -node.rank(x))) return 0;
  const std::int64_t axis = node.axis(given, node.rank(x));
  node.check(count == 1 || count == node.shape(x)[static_cast<std::size_t>(axis)],
             std::to_string(count) + " scales for axis " + std::to_string(axis) + " of shape " +
                 core::shape_text(node.shape(x)));
  return axis;
}

void quantize(Lowering& node) {
  const ValueId x = node.input(0), scale = node.input(1), zero = node.optional_input(2);
  const std::int64_t named = node.integer("output_dtype", 0);
  DType dtype = zero == kNone ? DType::u8 : node.dtype(zero);
  if (zero == kNone && named != 0) dtype = dtype_of_onnx(named);
  if (!is_int8(dtype)) node.unsupported("levels of type " + std::string(core::dtype_name(dtype)));
  const std::int64_t axis = axis_of(node, x, scale, zero);
  node.give(0, node.emit(Quantize{axis}, {x, scale, zero}, dtype, node.shape(x)));
}

void dequantize(Lowering& node) {
  const ValueId x = node.input(0), scale = node.input(1), zero = node.optional_input(2);
  if (!is_int8(node.dtype(x)) && node.dtype(x) != DType::i32) {
    node.unsupported("levels of type " + std::string(core::dtype_name(node.dtype(x))));
  }
  node.check(zero == kNone || node.dtype(zero) == node.dtype(x),
             "zero points of another type than the levels");
  const std::int64_t axis = axis_of(node, x, scale, zero);
  node.give(0, node.emit(Dequantize{axis}, {x, scale, zero}, node.dtype(scale), node.shape(x)));
}

void dynamic_quantize(Lowering& node) {
  const ValueId x = node.input(0);
  node.check(node.dtype(x) == DType::f32, "the input must be float32");
  node.give_all(DynamicQuantize{}, {x}, {{DType::u8, node.shape(x)}, {DType::f32, {}}, {DType::u8, {}}});
}

/// Levels and the level that stands for 0: none, or of a shape that broadcasts to theirs.
struct Levels {
  ValueId levels = kNone, zero = kNone;
};

/// The node's levels at input `i` with the zero points at input `zero`.
Levels levels_at(Lowering& node, std::size_t i, std::size_t zero) {
  const Levels found{node.input(i), node.optional_input(zero)};
  const DType dtype = node.dtype(found.levels);
  if (dtype != DType::u8 && dtype != DType::i8) {
    node.unsupported("levels of type " + std::string(core::dtype_name(dtype)));
  }
  node.check(found.zero == kNone || node.dtype(found.zero) == dtype,
             "zero points of another type than the levels");
  return found;
}

/// Gives the zero points of `x` the shape `to` where there are several.
void shape_zeros(Lowering& node, Levels& x, core::Shape to) {
  if (x.zero == kNone) return;
  const core::Shape given = node.shape(x.zero);
  const bool one = core::element_count(given) == 1;
  if (one) to = {};
  node.check(core::element_count(given) == core::element_count(to) && broadcasts_to(to, node.shape(x.levels)),
             "zero points of shape " + core::shape_text(given) + " do not fit levels of shape " +
                 core::shape_text(node.shape(x.levels)));
  x.zero = node.reshape(x.zero, std::move(to));
}

/// Levels − zero as float64.
ValueId apart(Lowering& node, const Levels& x) {
  const auto wide = [&](ValueId id) { return node.emit(Cast{}, {id}, DType::f64, node.shape(id)); };
  const ValueId levels = wide(x.levels);
  if (x.zero == kNone) return levels;
  return node.emit_like(Binary{BinaryFunction::sub, {}}, {levels, wide(x.zero)}, levels);
}

/// The product of x − zero and w − zero, int32 of shape `out`. It is computed in float64, which is exact:
/// 2^36 products of two levels stay below 2^53.
ValueId exact_product(Lowering& node, Operation product, const Levels& x, const Levels& w, core::Shape out) {
  const ValueId sums =
      node.emit(std::move(product), {apart(node, x), apart(node, w)}, DType::f64, std::move(out));
  return node.emit(Cast{}, {sums}, DType::i32, node.shape(sums));
}

void conv_integer(Lowering& node) {
  Levels x = levels_at(node, 0, 2), w = levels_at(node, 1, 3);
  auto [op, out] = convolution_of(node, x.levels, w.levels);
  shape_zeros(node, x, {});
  core::Shape filters(node.shape(w.levels).size(), 1);
  filters[0] = out[1];
  shape_zeros(node, w, std::move(filters));
  node.give(0, exact_product(node, std::move(op), x, w, std::move(out)));
}

void matmul_integer(Lowering& node) {
  Levels a = levels_at(node, 0, 2), b = levels_at(node, 1, 3);
  Matrices m = matrices_of(node, a.levels, b.levels);
  a.levels = m.a;
  b.levels = m.b;
  // A vector of zero points is one per row of a, one per column of b.
  const auto several = [&](ValueId zero, bool rows) {
    core::Shape shape = zero == kNone ? core::Shape{} : node.shape(zero);
    if (rows && shape.size() == 1) shape.push_back(1);
    return shape;
  };
  shape_zeros(node, a, several(a.zero, true));
  shape_zeros(node, b, several(b.zero, false));
  const ValueId y = exact_product(node, MatMul{}, a, b, std::move(m.out));
  node.give(0, node.reshape(y, std::move(m.squeezed)));
}

}  // namespace

void add_quantization_rules(Rules& rules) {
  rules["QuantizeLinear"] = quantize;
  rules["DequantizeLinear"] = dequantize;
  rules["DynamicQuantizeLinear"] = dynamic_quantize;
}

void add_int8_rules(Rules& rules) {
  rules["ConvInteger"] = conv_integer;
  rules["MatMulInteger"] = matmul_integer;
}

}  // namespace rdquant::program
