// Arguments of our float32 kernels, taken from steps.
#include "runtime/native/float32/convolution.hpp"

namespace rdquant::runtime::native {

using program::ValueId;

const kernels::Kernels& float_kernels() { return kernels::kernels(); }

std::string with_isa(std::string_view name) {
  std::string text(name);
  text += ' ';
  text += core::isa_name(float_kernels().isa);
  return text;
}

namespace {

/// A window over images: one over a single axis gets a first one.
program::Window on_images(program::Window window) {
  if (window.kernel.size() != 1) return window;
  for (auto* sizes : {&window.kernel, &window.strides, &window.dilations}) sizes->insert(sizes->begin(), 1);
  for (auto* pads : {&window.pads_begin, &window.pads_end}) pads->insert(pads->begin(), 0);
  return window;
}

}  // namespace

core::Shape as_image(const core::Shape& shape) {
  return shape.size() == 3 ? core::Shape{shape[0], shape[1], 1, shape[2]} : shape;
}

kernels::ConvShape conv_shape_of(const Builder& builder, ValueId x, ValueId w, const program::Window& given,
                                 std::int64_t groups) {
  const core::Shape image = as_image(builder.value(x).shape);
  const core::Shape filters = as_image(builder.value(w).shape);
  const program::Window window = on_images(given);
  const std::size_t rows = window.strides.size() - 2, columns = rows + 1;  // axes of the window
  return {.n = image[0],
          .c = image[1],
          .h = image[2 + rows],
          .w = image[2 + columns],
          .k = filters[0],
          .kh = filters[2 + rows],
          .kw = filters[2 + columns],
          .sh = window.strides[rows],
          .sw = window.strides[columns],
          .dh = window.dilations[rows],
          .dw = window.dilations[columns],
          .top = window.pads_begin[rows],
          .left = window.pads_begin[columns],
          .bottom = window.pads_end[rows],
          .right = window.pads_end[columns],
          .groups = groups};
}

kernels::PoolShape pool_shape_of(const Builder& builder, const program::Step& step,
                                 const program::Window& given) {
  const core::Shape x = as_image(builder.value(step.inputs[0]).shape);
  const core::Shape y = as_image(builder.value(step.outputs[0]).shape);
  const program::Window window = on_images(given);
  return {.n = x[0],
          .c = x[1],
          .h = x[2],
          .w = x[3],
          .oh = y[2],
          .ow = y[3],
          .kh = window.kernel[0],
          .kw = window.kernel[1],
          .sh = window.strides[0],
          .sw = window.strides[1],
          .dh = window.dilations[0],
          .dw = window.dilations[1],
          .top = window.pads_begin[0],
          .left = window.pads_begin[1],
          .bottom = window.pads_end[0],
          .right = window.pads_end[1]};
}

std::optional<kernels::Activation> kernel_activation(const program::Activation& activation) {
  using From = program::Function;
  using To = kernels::Function;
  const auto make = [&](To f, float a = 0, float b = 0) { return kernels::Activation{f, a, b, nullptr}; };
  switch (activation.function) {
    case From::identity:
      return make(To::none);
    case From::relu:
      return make(To::relu);
    case From::clip:
      return make(To::clip, activation.a, activation.b);
    case From::leaky_relu:
      return make(To::leaky_relu, activation.a);
    case From::prelu:
      return make(To::prelu);
    case From::sigmoid:
      return make(To::sigmoid);
    case From::silu:
      return make(To::silu);
    case From::hard_swish:
      return make(To::hard_swish);
    case From::hard_sigmoid:
      return make(To::hard_sigmoid, activation.a, activation.b);
    case From::tanh:
      return make(To::tanh);
    case From::elu:
      return make(To::elu, activation.a);
    case From::gelu:
      return make(To::gelu_erf);
    case From::gelu_tanh:
      return make(To::gelu_tanh);
    case From::mish:
      return make(To::mish);
    case From::swish:
      return make(To::swish, activation.a);
    case From::exp:
      return make(To::exp);
    case From::erf:
      return make(To::erf);
    case From::sqrt:
      return make(To::sqrt);
    case From::reciprocal:
      return make(To::reciprocal);
    case From::abs:
      return make(To::abs);
    case From::neg:
      return make(To::negate);
    case From::floor:
      return make(To::floor);
    case From::ceil:
      return make(To::ceil);
    default:
      return std::nullopt;
  }
}

}  // namespace rdquant::runtime::native
