// Floats at the edges of a network: levels to numbers and back, softmax, a last sum.
#include <algorithm>
#include <cmath>

#include "emit/reader.hpp"

namespace rdquant::emit {
namespace {

using program::Step;
using program::ValueId;

/// Levels that one scale makes numbers of.
struct Numbers {
  View levels;
  float scale = 1;
  std::int32_t zero = 0;  ///< of int8 levels
};

std::string grid_text(const Numbers& n) {
  return "{" + float_text(n.scale) + ", " + std::to_string(n.zero) + "}";
}

std::int32_t zero_of(const Reader& reader, const Step& step) {
  const ValueId zero = program::input(step, 2);
  return zero == program::kNone ? 0
                                : static_cast<std::int32_t>(reader.constant(step, zero).integers().front());
}

/// Where `id` is numbers that a Dequantize made, their levels.
bool find_numbers(Reader& reader, ValueId id, Numbers& found) {
  const Step* made = reader.maker(id);
  if (made == nullptr || !std::holds_alternative<program::Dequantize>(made->operation)) return false;
  if (reader.constant(*made, made->inputs[1]).size() != 1)
    Reader::refuse(*made, "it has more than one scale");
  found.levels = reader.view(*made, made->inputs[0]);
  if (found.levels.flattened != nullptr) found.levels = reader.vector(*made, found.levels);
  found.scale = static_cast<float>(reader.constant(*made, made->inputs[1]).doubles().front());
  found.zero = zero_of(reader, *made) - shift_of(found.levels);
  return true;
}

/// Nothing is computed: who reads the numbers reads the levels.
bool read_dequantize(Reader& reader, const Step& step) {
  const auto* op = std::get_if<program::Dequantize>(&step.operation);
  if (op == nullptr) return false;
  Numbers found;
  return find_numbers(reader, step.outputs[0], found);
}

bool read_quantize(Reader& reader, const Step& step) {
  if (!std::holds_alternative<program::Quantize>(step.operation)) return false;
  const View x = reader.view(step, step.inputs[0]);
  if (x.levels || reader.constant(step, step.inputs[1]).size() != 1)
    Reader::refuse(step, "it has more than one scale");
  const View y = reader.make(step.outputs[0]);
  if (!y.levels) Reader::refuse(step, "it makes levels of more than 8 bits");
  const Numbers to{y, static_cast<float>(reader.constant(step, step.inputs[1]).doubles().front()),
                   zero_of(reader, step) - shift_of(y)};
  const std::vector<Axis> axes = merged(x.shape, x.strides, y.strides);
  if (axes.size() > 4) Reader::refuse(step, "elements move along more than four axes");
  const std::string grid = reader.constants.structure("rdq_grid", "grid", grid_text(to), 8);
  const std::string path = reader.constants.structure("rdq_path", "path", path_text(axes), 40);
  Call& call = reader.call(step, "rdq_quantize");
  Reader::pass(call, grid);
  Reader::pass(call, path);
  reader.read(call, x, "float");
  reader.write(call, y);
  reader.set(step.outputs[0], y);
  return true;
}

bool read_softmax(Reader& reader, const Step& step) {
  const auto* op = std::get_if<program::Softmax>(&step.operation);
  if (op == nullptr) return false;
  Numbers from;
  if (!find_numbers(reader, step.inputs[0], from))
    Reader::refuse(step, "its input is not quantized; quantize that, or let the model end before it");
  const core::Shape shape = from.levels.shape;
  // Its axis is the last one in memory: of images that is the channels'.
  const bool channels = shape.size() == 4 && op->axis == 1;
  if (op->logarithm || (!channels && op->axis != static_cast<std::int64_t>(shape.size()) - 1))
    Reader::refuse(step,
                   "softmax along the last axis or an image's channels can be emitted, without logarithm");
  const core::Shape strides = channels ? channels_last(shape) : dense_strides(shape);
  const std::int64_t count = shape[static_cast<std::size_t>(op->axis)];
  const View x = reader.in_strides(step, from.levels, strides);
  std::vector<double> exponentials(256);
  const auto number = [&](std::int32_t level) {
    return static_cast<double>(static_cast<float>(level - from.zero) * from.scale);
  };
  for (std::int32_t level = -128; level < 128; ++level)
    exponentials[static_cast<std::uint8_t>(level)] = std::exp(number(level) - number(127));
  constexpr double kLeast = 1e-290;
  if (exponentials[128] < kLeast) Reader::refuse(step, "its input reaches too far: exponentials vanish");
  const View y = reader.make(step.outputs[0]);
  const std::string table = reader.constants.doubles("exponentials", exponentials);
  Call& call = reader.call(step, "rdq_softmax");
  Reader::pass(call, table);
  Reader::pass(call, std::to_string(core::element_count(shape) / count));
  Reader::pass(call, std::to_string(count));
  reader.read(call, x);
  reader.write(call, y, "float");
  View made = y;
  made.strides = strides;
  reader.set(step.outputs[0], made);
  return true;
}

/// A sum that stays in floats, of two arrays of levels: the last residual of a network, before its mean.
bool read_float_sum(Reader& reader, const Step& step) {
  const auto* op = std::get_if<program::Binary>(&step.operation);
  if (op == nullptr || op->function != program::BinaryFunction::add) return false;
  const auto activation = op->activation.function;
  const bool relu = activation == program::Function::relu;
  Numbers a, b;
  if ((!relu && activation != program::Function::identity) || !find_numbers(reader, step.inputs[0], a) ||
      !find_numbers(reader, step.inputs[1], b) || a.levels.shape != b.levels.shape)
    return false;
  // Where only its mean is wanted, no image of floats is kept.
  const Step* mean = reader.is_output(step.outputs[0]) ? nullptr : reader.only_reader(step.outputs[0]);
  if (mean != nullptr && !is_whole_mean(reader, *mean)) mean = nullptr;
  const core::Shape whole = reader.value(step.outputs[0]).shape;
  const ValueId made = mean == nullptr ? step.outputs[0] : mean->outputs[0];
  const core::Shape strides = whole.size() == 4 ? channels_last(whole) : dense_strides(whole);
  const View first = reader.in_strides(step, a.levels, strides),
             second = reader.in_strides(step, b.levels, strides);
  const View y = reader.make(made);
  const std::string grids = reader.constants.structure("rdq_grid", "grid", grid_text(a), 8);
  const std::string others = reader.constants.structure("rdq_grid", "grid", grid_text(b), 8);
  Call& call = reader.call(step, mean == nullptr ? "rdq_add_f32" : "rdq_add_mean_f32");
  Reader::pass(call, grids);
  Reader::pass(call, others);
  Reader::pass(call, relu ? "1" : "0");
  const std::int64_t channels = mean == nullptr ? 1 : whole[1];
  Reader::pass(call, std::to_string(core::element_count(whole) / channels));
  if (mean != nullptr) {
    Reader::pass(call, std::to_string(channels));
    reader.skip(*mean);
  }
  reader.read(call, first);
  reader.read(call, second);
  reader.write(call, y, "float");
  reader.set(made, y);
  return true;
}

}  // namespace

bool read_edge(Reader& reader, const Step& step) {
  return read_dequantize(reader, step) || read_quantize(reader, step) || read_softmax(reader, step) ||
         read_float_sum(reader, step);
}

}  // namespace rdquant::emit
