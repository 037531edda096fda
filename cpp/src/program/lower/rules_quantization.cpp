// Levels and back: QuantizeLinear, DequantizeLinear, DynamicQuantizeLinear.
#include <string>
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

}  // namespace

void add_quantization_rules(Rules& rules) {
  rules["QuantizeLinear"] = quantize;
  rules["DequantizeLinear"] = dequantize;
  rules["DynamicQuantizeLinear"] = dynamic_quantize;
}

}  // namespace rdquant::program
