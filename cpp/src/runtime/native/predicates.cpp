#include "runtime/native/predicates.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <vector>

#include "rdquant/program/evaluate.hpp"
#include "runtime/native/layout.hpp"

namespace rdquant::runtime::native {

using program::kNone;
using program::Program;
using program::Step;
using program::Value;
using program::ValueId;

const Value& value_of(const Program& program, ValueId id) {
  return program.values[static_cast<std::size_t>(id)];
}

namespace {

/// Functions that kernels apply, oneDNN's or our own.
bool has_kernel(program::Function function) {
  using program::Function;
  switch (function) {
    case Function::identity:
    case Function::relu:
    case Function::clip:
    case Function::leaky_relu:
    case Function::sigmoid:
    case Function::silu:
    case Function::swish:
    case Function::hard_sigmoid:
    case Function::hard_swish:
    case Function::tanh:
    case Function::elu:
    case Function::gelu:
    case Function::gelu_tanh:
    case Function::mish:
    case Function::exp:
    case Function::abs:
    case Function::erf:
    case Function::reciprocal:
    case Function::neg:
    case Function::floor:
    case Function::ceil:
    case Function::sqrt:
      return true;
    default:
      return false;
  }
}

/// The others of one number that kernels of our own compute by themselves.
bool has_elementary_kernel(program::Function function) {
  using program::Function;
  switch (function) {
    case Function::log:
    case Function::softplus:
    case Function::selu:
    case Function::celu:
    case Function::softsign:
    case Function::thresholded_relu:
    case Function::shrink:
    case Function::sign:
    case Function::round:
    case Function::sin:
    case Function::cos:
    case Function::tan:
    case Function::asin:
    case Function::acos:
    case Function::atan:
    case Function::sinh:
    case Function::cosh:
    case Function::asinh:
    case Function::acosh:
    case Function::atanh:
      return true;
    default:
      return false;
  }
}

bool is_float(const Program& program, ValueId id) {
  return id == kNone || value_of(program, id).dtype == core::DType::f32;
}

}  // namespace

bool all_float(const Program& program, const Step& step) {
  const auto check = [&](ValueId id) { return is_float(program, id); };
  return std::all_of(step.inputs.begin(), step.inputs.end(), check) &&
         std::all_of(step.outputs.begin(), step.outputs.end(), check);
}

bool is_int8(const Value& value) { return value.dtype == core::DType::u8 || value.dtype == core::DType::i8; }

bool is_frame(const program::Pad& pad) {
  const auto whole = [](std::int64_t n) { return n >= 0; };
  return pad.mode == program::PadMode::constant && std::ranges::all_of(pad.begins, whole) &&
         std::ranges::all_of(pad.ends, whole);
}

bool is_image_pad(const Program& program, const Step& step) {
  const auto* pad = std::get_if<program::Pad>(&step.operation);
  if (pad == nullptr) return false;
  const core::Shape &x = value_of(program, step.inputs[0]).shape,
                    &y = value_of(program, step.outputs[0]).shape;
  // lanes past the last channel have to stay zero
  const bool fills_lanes = program::input(step, 1) != program::kNone;
  return x.size() == 4 && !(fills_lanes && x[1] % block_size() != 0) && x[0] == y[0] && x[1] == y[1] &&
         pad->begins[0] == 0 && pad->begins[1] == 0 && core::element_count(x) != 0 &&
         core::element_count(y) != 0;
}

bool is_constant_scatter(const Program& program, const Step& step) {
  const auto* scatter = std::get_if<program::ScatterNd>(&step.operation);
  if (scatter == nullptr || scatter->reduction != program::Reduction::none) return false;
  const Value& indices = value_of(program, step.inputs[1]);
  return core::size_of(value_of(program, step.inputs[0]).dtype) == sizeof(float) &&
         indices.role == program::Role::constant &&
         (indices.dtype == core::DType::i64 || indices.dtype == core::DType::i32) &&
         core::element_count(value_of(program, step.inputs[2]).shape) != 0;
}

bool is_image_binary(const Program& program, const Step& step) {
  if (!std::holds_alternative<program::Int8Binary>(step.operation)) return false;
  const core::Shape& y = value_of(program, step.outputs[0]).shape;
  const auto fits = [&](std::size_t i) {
    const core::Shape& x = value_of(program, step.inputs[i]).shape;
    if (x == y) return true;
    if (x.size() != y.size() || x.size() < 4 || x.size() > 5 || (x[0] != y[0] && x[0] != 1)) return false;
    const bool one_pixel = x[1] == y[1] && area_of(x) == 1;
    return one_pixel || (x[1] == 1 && std::equal(x.begin() + 2, x.end(), y.begin() + 2));
  };
  return fits(0) && fits(1);
}

bool is_int8_resize(const Program& program, const Step& step) {
  const auto* resize = std::get_if<program::Resize>(&step.operation);
  if (resize == nullptr || resize->mode != program::ResizeMode::nearest) return false;
  if (resize->coordinates == program::Coordinates::crop_and_resize) return false;
  const core::Shape& from = value_of(program, step.inputs[0]).shape;
  const core::Shape& to = value_of(program, step.outputs[0]).shape;
  if (from.size() != 4 || from[0] != to[0] || from[1] != to[1] || core::element_count(to) == 0) return false;
  return from[2] != 0 && from[3] != 0;
}

bool keeps_every_pixel(const Program& program, const Step& step) {
  if (!is_int8_resize(program, step)) return false;
  const auto& resize = std::get<program::Resize>(step.operation);
  const core::Shape& from = value_of(program, step.inputs[0]).shape;
  const core::Shape& to = value_of(program, step.outputs[0]).shape;
  return std::ranges::all_of(std::array<std::size_t, 2>{2, 3}, [&](std::size_t axis) {
    std::vector<std::int64_t> places = program::nearest_places(resize, from, to, axis);
    std::ranges::sort(places);
    const auto repeated = std::ranges::unique(places);
    return std::ssize(places) - std::ssize(repeated) == from[axis];
  });
}

bool is_plain_pool(const Program& program, const Step& step) {
  const auto* pool = std::get_if<program::Pool>(&step.operation);
  if (pool == nullptr || !is_float(program, step.inputs[0])) return false;
  if (step.outputs.size() > 1 && step.outputs[1] != kNone) return false;  // indices
  const std::size_t axes = value_of(program, step.inputs[0]).shape.size();
  return (axes == 3 || axes == 4) && pool->function != program::PoolFunction::lp;
}

namespace {

/// The Resize of the last two axes of float images that `step` is, or null.
const program::Resize* image_resize(const Program& program, const Step& step) {
  const auto* resize = std::get_if<program::Resize>(&step.operation);
  if (resize == nullptr || !all_float(program, step)) return nullptr;
  if (resize->coordinates == program::Coordinates::crop_and_resize) return nullptr;
  const core::Shape& from = value_of(program, step.inputs[0]).shape;
  const core::Shape& to = value_of(program, step.outputs[0]).shape;
  const bool images = from.size() == 4 && from[0] == to[0] && from[1] == to[1] &&
                      resize->scales.size() == 4 && resize->scales[0] == 1 && resize->scales[1] == 1;
  return images ? resize : nullptr;
}

}  // namespace

bool is_nearest_image_resize(const Program& program, const Step& step) {
  const program::Resize* const resize = image_resize(program, step);
  return resize != nullptr && resize->mode == program::ResizeMode::nearest && !resize->antialias;
}

bool is_resampled_image(const Program& program, const Step& step) {
  const program::Resize* const resize = image_resize(program, step);
  return resize != nullptr && resize->mode != program::ResizeMode::nearest &&
         core::element_count(value_of(program, step.outputs[0]).shape) > 0;
}

bool is_sampled_image(const Program& program, const Step& step) {
  if (!std::holds_alternative<program::GridSample>(step.operation) || !all_float(program, step)) return false;
  const core::Shape& x = value_of(program, step.inputs[0]).shape;
  const std::int64_t elements = core::element_count(x);
  return x.size() >= 3 && x.size() <= 5 && elements > 0 &&
         elements / x[0] / x[1] < std::numeric_limits<std::int32_t>::max() &&
         core::element_count(value_of(program, step.outputs[0]).shape) > 0;
}

bool is_plain_binary(const Program& program, const Step& step) {
  const auto* binary = std::get_if<program::Binary>(&step.operation);
  if (binary == nullptr || !all_float(program, step)) return false;
  using program::BinaryFunction;
  switch (binary->function) {
    case BinaryFunction::add:
    case BinaryFunction::mul:
    case BinaryFunction::min:
    case BinaryFunction::max:
    case BinaryFunction::sub:
    case BinaryFunction::div:
    case BinaryFunction::prelu:
    case BinaryFunction::pow:
      break;
    default:
      return false;
  }
  if (!has_kernel(binary->activation.function)) return false;
  return core::element_count(value_of(program, step.outputs[0]).shape) > 0;
}

bool is_plain_unary(const Program& program, const Step& step) {
  const auto* unary = std::get_if<program::Unary>(&step.operation);
  if (unary == nullptr || !all_float(program, step)) return false;
  const program::Function function = unary->activation.function;
  return function != program::Function::identity &&
         (has_kernel(function) || has_elementary_kernel(function)) &&
         core::element_count(value_of(program, step.outputs[0]).shape) > 0;
}

bool is_kept_in_blocks(const program::Program& program, program::ValueId id, int steps) {
  const core::Shape& shape = value_of(program, id).shape;
  return std::ranges::any_of(program.steps, [&](const program::Step& step) {
    const auto& operation = step.operation;
    if (std::ranges::find(step.inputs, id) == step.inputs.end()) return false;
    if (std::holds_alternative<program::BatchNormalization>(operation)) return true;
    const program::ValueId made = step.outputs[0];
    if (std::holds_alternative<program::Quantize>(operation))
      return shape.size() == 4 && !is_reshaped(program, made);
    const auto* concat = std::get_if<program::Concat>(&operation);
    const bool elementwise = is_plain_unary(program, step) || is_plain_binary(program, step);
    const bool keeps = (concat != nullptr && concat->axis == 1) ||
                       std::holds_alternative<program::Pool>(operation) ||
                       (elementwise && value_of(program, made).shape == shape);
    return keeps && steps > 0 && is_kept_in_blocks(program, made, steps - 1);
  });
}

bool whole_blocks(const program::Program& program, const std::vector<program::ValueId>& parts) {
  return std::all_of(parts.begin(), parts.end() - 1,
                     [&](program::ValueId id) { return value_of(program, id).shape[1] % block_size() == 0; });
}

bool is_reshaped(const program::Program& program, program::ValueId id) {
  static const std::vector<std::int64_t> kPixels{0, 2, 3, 1};
  return std::ranges::all_of(program.steps, [&](const program::Step& step) {
    const auto* transpose = std::get_if<program::Transpose>(&step.operation);
    return std::holds_alternative<program::Reshape>(step.operation) ||
           (transpose != nullptr && transpose->permutation != kPixels) ||
           std::ranges::find(step.inputs, id) == step.inputs.end();
  });
}

bool brings_channels_last(const Program& program, const Step& step) {
  const auto* transpose = std::get_if<program::Transpose>(&step.operation);
  return transpose != nullptr && transpose->permutation == std::vector<std::int64_t>{0, 3, 1, 2} &&
         !is_reshaped(program, step.outputs[0]);
}

bool is_read_in_blocks(const program::Program& program, program::ValueId id, int steps) {
  return std::ranges::any_of(program.steps, [&](const program::Step& reader) {
    const auto& operation = reader.operation;
    if (std::ranges::find(reader.inputs, id) == reader.inputs.end()) return false;
    if (std::holds_alternative<program::Convolution>(operation) ||
        std::holds_alternative<program::TransposedConvolution>(operation) ||
        std::holds_alternative<program::GroupNormalization>(operation) ||
        std::holds_alternative<program::Pool>(operation))
      return true;
    const auto* concat = std::get_if<program::Concat>(&operation);
    const bool keeps = (concat != nullptr && concat->axis == 1) ||
                       std::holds_alternative<program::Unary>(operation) ||
                       std::holds_alternative<program::Binary>(operation) ||
                       std::holds_alternative<program::BatchNormalization>(operation) ||
                       std::holds_alternative<program::Split>(operation);
    return keeps && steps > 0 && std::ranges::any_of(reader.outputs, [&](program::ValueId made) {
             return made != program::kNone && is_read_in_blocks(program, made, steps - 1);
           });
  });
}

}  // namespace rdquant::runtime::native
