#include <algorithm>
#include <array>

#include "runtime/native/onednn/memory.hpp"
#include "runtime/native/onednn/rules.hpp"

namespace rdquant::runtime::native::onednn {
namespace {

using program::kNone;
using program::Step;
using program::ValueId;

bool is_float(const Builder& builder, const Step& step) {
  for (const ValueId id : step.inputs) {
    if (id != kNone && builder.value(id).dtype != core::DType::f32) return false;
  }
  return core::element_count(builder.value(step.outputs[0]).shape) > 0;
}

/// Layer normalization over the last axis, with scale and shift.
bool layer(Builder& builder, const Step& step, const program::LayerNormalization& norm) {
  const auto& shape = builder.value(step.inputs[0]).shape;
  if (norm.root_mean_square || step.outputs.size() != 1 || shape.size() < 2 || shape.size() > 5 ||
      norm.axis + 1 != static_cast<std::int64_t>(shape.size())) {
    return false;
  }
  const ValueId scale = program::input(step, 1);
  const ValueId bias = program::input(step, 2);
  auto flags = dnnl::normalization_flags::none;
  if (scale != kNone) flags = flags | dnnl::normalization_flags::use_scale;
  if (bias != kNone) flags = flags | dnnl::normalization_flags::use_shift;
  const auto memory = describe_plain(shape);
  using Primitive = dnnl::layer_normalization_forward;
  const auto desc = try_make([&] {
    return Primitive::primitive_desc(engine(), dnnl::prop_kind::forward_inference, memory, memory,
                                     norm.epsilon, flags, attributes());
  });
  if (!desc) return false;
  const auto vector = describe_plain(core::Shape{shape.back()});
  std::vector<Operand> operands = {{DNNL_ARG_SRC, memory, builder.read(step.inputs[0], Layout::plain)}};
  if (scale != kNone) operands.push_back({DNNL_ARG_SCALE, vector, builder.read(scale, Layout::plain)});
  if (bias != kNone) operands.push_back({DNNL_ARG_SHIFT, vector, builder.read(bias, Layout::plain)});
  operands.push_back({DNNL_ARG_DST, memory, builder.write(step.outputs[0], Layout::plain)});
  emit(builder, *desc, Primitive(*desc), operands, Layout::plain);
  return true;
}

bool batch(Builder& builder, const Step& step, const program::BatchNormalization& norm) {
  const ValueId y = step.outputs[0];
  const auto& shape = builder.value(y).shape;
  if (shape.size() < 2 || shape.size() > 5) return false;
  const Layout layout = builder.layout(y);
  dnnl::post_ops chain;
  if (!append_activation(chain, norm.activation)) return false;
  auto attr = attributes();
  attr.set_post_ops(chain);
  using dnnl::normalization_flags;
  const auto flags =
      normalization_flags::use_global_stats | normalization_flags::use_scale | normalization_flags::use_shift;
  const auto memory = describe(shape, layout);
  using Primitive = dnnl::batch_normalization_forward;
  const auto desc = try_make([&] {
    return Primitive::primitive_desc(engine(), dnnl::prop_kind::forward_inference, memory, memory,
                                     norm.epsilon, flags, attr);
  });
  if (!desc) return false;
  const auto vector = describe_plain(core::Shape{shape[1]});
  const auto constant = [&](int index, std::size_t i) {
    return Operand{index, vector, builder.read(step.inputs[i], Layout::plain)};
  };
  emit(builder, *desc, Primitive(*desc),
       {{DNNL_ARG_SRC, memory, builder.read(step.inputs[0], layout)},
        constant(DNNL_ARG_SCALE, 1),
        constant(DNNL_ARG_SHIFT, 2),
        constant(DNNL_ARG_MEAN, 3),
        constant(DNNL_ARG_VARIANCE, 4),
        {DNNL_ARG_DST, memory, builder.write(y, layout)}},
       layout);
  return true;
}

bool local_response(Builder& builder, const Step& step, const program::LocalResponseNormalization& norm) {
  const auto& shape = builder.value(step.inputs[0]).shape;
  if (shape.size() != 4 || norm.size % 2 == 0) return false;
  const Layout layout = builder.layout(step.outputs[0]);
  const auto memory = describe(shape, layout);
  using Primitive = dnnl::lrn_forward;
  const auto desc = try_make([&] {
    return Primitive::primitive_desc(engine(), dnnl::prop_kind::forward_inference,
                                     dnnl::algorithm::lrn_across_channels, memory, memory, norm.size,
                                     norm.alpha, norm.beta, norm.bias, attributes());
  });
  if (!desc) return false;
  emit(builder, *desc, Primitive(*desc),
       {{DNNL_ARG_SRC, memory, builder.read(step.inputs[0], layout)},
        {DNNL_ARG_DST, memory, builder.write(step.outputs[0], layout)}},
       layout);
  return true;
}

}  // namespace

bool build_softmax(Builder& builder, const Step& step) {
  const auto* softmax = std::get_if<program::Softmax>(&step.operation);
  if (softmax == nullptr || !is_float(builder, step)) return false;
  const auto memory = describe_plain(builder.value(step.inputs[0]).shape);
  using Primitive = dnnl::softmax_forward;
  const auto desc = try_make([&] {
    return Primitive::primitive_desc(
        engine(), dnnl::prop_kind::forward_inference,
        softmax->logarithm ? dnnl::algorithm::softmax_log : dnnl::algorithm::softmax_accurate, memory, memory,
        static_cast<int>(softmax->axis), attributes());
  });
  if (!desc) return false;
  emit(builder, *desc, Primitive(*desc),
       {{DNNL_ARG_SRC, memory, builder.read(step.inputs[0], Layout::plain)},
        {DNNL_ARG_DST, memory, builder.write(step.outputs[0], Layout::plain)}},
       Layout::plain);
  return true;
}

bool build_normalization(Builder& builder, const Step& step) {
  const auto& operation = step.operation;
  if (step.inputs.empty() || step.outputs.empty() || !is_float(builder, step)) return false;
  if (const auto* o = std::get_if<program::LayerNormalization>(&operation)) return layer(builder, step, *o);
  if (const auto* o = std::get_if<program::BatchNormalization>(&operation)) return batch(builder, step, *o);
  if (const auto* o = std::get_if<program::LocalResponseNormalization>(&operation)) {
    return local_response(builder, step, *o);
  }
  return false;
}

}  // namespace rdquant::runtime::native::onednn
