#include <algorithm>

#include "runtime/native/onednn/memory.hpp"
#include "runtime/native/onednn/rules.hpp"

namespace rdquant::runtime::native::onednn {
namespace {

using core::Shape;
using program::BinaryFunction;
using program::Step;
using program::ValueId;

dnnl::algorithm algorithm_of(BinaryFunction function) {
  switch (function) {
    case BinaryFunction::mul:
      return dnnl::algorithm::binary_mul;
    case BinaryFunction::min:
      return dnnl::algorithm::binary_min;
    case BinaryFunction::max:
      return dnnl::algorithm::binary_max;
    case BinaryFunction::sub:
      return dnnl::algorithm::binary_sub;
    case BinaryFunction::div:
      return dnnl::algorithm::binary_div;
    default:
      return dnnl::algorithm::binary_add;
  }
}

}  // namespace

bool build_unary(Builder& builder, const Step& step) {
  if (!is_plain_unary(builder.program(), step)) return false;
  const Layout layout = builder.layout(step.outputs[0]);
  dnnl::post_ops chain;
  if (!append_activation(chain, std::get<program::Unary>(step.operation).activation)) return false;
  dnnl::algorithm algorithm{};
  float a = 0;
  float b = 0;
  chain.get_params_eltwise(0, algorithm, a, b);
  const auto memory = describe(builder.value(step.outputs[0]).shape, layout);
  using Primitive = dnnl::eltwise_forward;
  const Primitive::primitive_desc desc(engine(), dnnl::prop_kind::forward_inference, algorithm, memory,
                                       memory, a, b, attributes());
  emit(builder, desc, Primitive(desc),
       {{DNNL_ARG_SRC, memory, builder.read(step.inputs[0], layout)},
        {DNNL_ARG_DST, memory, builder.write(step.outputs[0], layout)}},
       layout);
  return true;
}

bool build_binary(Builder& builder, const Step& step) {
  if (!is_plain_binary(builder.program(), step)) return false;
  const auto& binary = std::get<program::Binary>(step.operation);
  const ValueId out = step.outputs[0];
  const Shape& shape = builder.value(out).shape;
  const Layout layout = builder.layout(out);
  ValueId first = step.inputs[0];
  ValueId second = step.inputs[1];
  const bool second_full = builder.value(second).shape == shape;
  if (builder.value(first).shape != shape ||
      (second_full && builder.placement().same_spot(second, out) && binary.function != BinaryFunction::sub &&
       binary.function != BinaryFunction::div)) {
    std::swap(first, second);  // the one that has the result's shape, and shares its memory, comes first
  }
  const bool commutes = binary.function != BinaryFunction::sub && binary.function != BinaryFunction::div;
  if (shape.empty() || shape.size() > 6 || binary.function == BinaryFunction::prelu ||
      builder.value(first).shape != shape || (first != step.inputs[0] && !commutes)) {
    return false;
  }
  const Shape other = aligned(builder.value(second).shape, shape.size());
  auto attr = attributes();
  dnnl::post_ops chain;
  if (!append_activation(chain, binary.activation)) return false;
  attr.set_post_ops(chain);
  using Primitive = dnnl::binary;
  const auto desc = try_make([&] {
    return Primitive::primitive_desc(engine(), algorithm_of(binary.function), describe(shape, layout),
                                     describe(other, layout), describe(shape, layout), attr);
  });
  if (!desc) return false;
  emit(builder, *desc, Primitive(*desc),
       {{DNNL_ARG_SRC_0, desc->src0_desc(), builder.read(first, layout)},
        {DNNL_ARG_SRC_1, desc->src1_desc(), builder.read_as(second, other, layout)},
        {DNNL_ARG_DST, desc->dst_desc(), builder.write(out, layout)}},
       layout);
  return true;
}

}  // namespace rdquant::runtime::native::onednn
