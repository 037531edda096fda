#include <algorithm>
#include <array>

#include "runtime/native/float_convolution.hpp"
#include "runtime/native/loops.hpp"

namespace rdquant::runtime::native {
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
                                     norm.epsilon, flags, Builder::attributes());
  });
  if (!desc) return false;
  const auto vector = describe_plain(core::Shape{shape.back()});
  std::vector<Builder::Operand> operands = {
      {DNNL_ARG_SRC, memory, builder.read(step.inputs[0], Layout::plain)}};
  if (scale != kNone) operands.push_back({DNNL_ARG_SCALE, vector, builder.read(scale, Layout::plain)});
  if (bias != kNone) operands.push_back({DNNL_ARG_SHIFT, vector, builder.read(bias, Layout::plain)});
  operands.push_back({DNNL_ARG_DST, memory, builder.write(step.outputs[0], Layout::plain)});
  builder.emit(*desc, Primitive(*desc), operands, Layout::plain);
  return true;
}

bool batch(Builder& builder, const Step& step, const program::BatchNormalization& norm) {
  const ValueId y = step.outputs[0];
  const auto& shape = builder.value(y).shape;
  if (shape.size() < 2 || shape.size() > 5) return false;
  const Layout layout = builder.layout(y);
  dnnl::post_ops chain;
  if (!append_activation(chain, norm.activation)) return false;
  auto attributes = Builder::attributes();
  attributes.set_post_ops(chain);
  using dnnl::normalization_flags;
  const auto flags =
      normalization_flags::use_global_stats | normalization_flags::use_scale | normalization_flags::use_shift;
  const auto memory = describe(shape, layout);
  using Primitive = dnnl::batch_normalization_forward;
  const auto desc = try_make([&] {
    return Primitive::primitive_desc(engine(), dnnl::prop_kind::forward_inference, memory, memory,
                                     norm.epsilon, flags, attributes);
  });
  if (!desc) return false;
  const auto vector = describe_plain(core::Shape{shape[1]});
  const auto constant = [&](int index, std::size_t i) {
    return Builder::Operand{index, vector, builder.read(step.inputs[i], Layout::plain)};
  };
  builder.emit(*desc, Primitive(*desc),
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
                                     norm.alpha, norm.beta, norm.bias, Builder::attributes());
  });
  if (!desc) return false;
  builder.emit(*desc, Primitive(*desc),
               {{DNNL_ARG_SRC, memory, builder.read(step.inputs[0], layout)},
                {DNNL_ARG_DST, memory, builder.write(step.outputs[0], layout)}},
               layout);
  return true;
}

/// Softmax over an axis with others behind it, which oneDNN has plain loops for only: columns side by side.
struct ColumnSoftmax {
  const kernels::Kernels& kernels;
  std::int64_t outer, length, inner;
  int threads;

  static constexpr std::int64_t kColumns = 256;

  void operator()(void* const* operands) const {
    const auto* x = static_cast<const float*>(operands[0]);
    auto* y = static_cast<float*>(operands[1]);
    const std::int64_t pieces = (inner + kColumns - 1) / kColumns;
    share(outer * pieces, 4, threads, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const std::int64_t at = i / pieces * length * inner, first = i % pieces * kColumns;
        kernels.softmax_columns(x + at, y + at, length, inner, first, std::min(inner, first + kColumns));
      }
    });
  }
};

bool column_softmax(Builder& builder, const Step& step, const program::Softmax& softmax) {
  const auto& shape = builder.value(step.inputs[0]).shape;
  const auto axis = static_cast<std::ptrdiff_t>(softmax.axis);
  const std::int64_t inner = core::element_count({shape.begin() + axis + 1, shape.end()});
  if (softmax.logarithm || inner < 16) return false;
  const std::int64_t outer = core::element_count({shape.begin(), shape.begin() + axis});
  const ColumnSoftmax work{float_kernels(), outer, shape[static_cast<std::size_t>(axis)], inner,
                           builder.threads()};
  builder.emit(make_native("columns " + std::string(core::isa_name(float_kernels().isa)), 2, work),
               {builder.read(step.inputs[0], Layout::plain), builder.write(step.outputs[0], Layout::plain)},
               Layout::plain);
  return true;
}

}  // namespace

bool build_softmax(Builder& builder, const Step& step) {
  const auto* softmax = std::get_if<program::Softmax>(&step.operation);
  if (softmax == nullptr || !is_float(builder, step)) return false;
  if (column_softmax(builder, step, *softmax)) return true;
  const auto memory = describe_plain(builder.value(step.inputs[0]).shape);
  using Primitive = dnnl::softmax_forward;
  const auto desc = try_make([&] {
    return Primitive::primitive_desc(
        engine(), dnnl::prop_kind::forward_inference,
        softmax->logarithm ? dnnl::algorithm::softmax_log : dnnl::algorithm::softmax_accurate, memory, memory,
        static_cast<int>(softmax->axis), Builder::attributes());
  });
  if (!desc) return false;
  builder.emit(*desc, Primitive(*desc),
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

}  // namespace rdquant::runtime::native
