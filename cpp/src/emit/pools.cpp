// Maxima and means under windows.
#include <algorithm>
#include <limits>

#include "emit/reader.hpp"

namespace rdquant::emit {
namespace {

using core::Shape;
using program::Step;
using program::Window;

/// How many taps of the window at each place along an axis are inside.
std::vector<std::int64_t> counts_along(const Window& w, std::size_t axis, std::int64_t from,
                                       std::int64_t to) {
  std::vector<std::int64_t> counts;
  for (std::int64_t out = 0; out < to; ++out) {
    std::int64_t inside = 0;
    for (std::int64_t k = 0; k < w.kernel[axis]; ++k) {
      const std::int64_t place = out * w.strides[axis] - w.pads_begin[axis] + k * w.dilations[axis];
      if (place >= 0 && place < from) ++inside;
    }
    counts.push_back(inside);
  }
  return counts;
}

/// Multipliers by how many taps count; one where all windows count alike.
std::vector<float> multipliers(const program::Int8Pool& op, const Shape& x, const Shape& y) {
  const std::int64_t all = op.window.kernel[0] * op.window.kernel[1];
  const auto rows = counts_along(op.window, 0, x[2], y[2]), columns = counts_along(op.window, 1, x[3], y[3]);
  const auto even = [](const std::vector<std::int64_t>& v) {
    return std::ranges::all_of(v, [&](auto n) { return n == v[0]; });
  };
  if (op.count_include_pad) return {op.scale / static_cast<float>(all)};
  if (even(rows) && even(columns)) {
    const std::int64_t count = rows[0] * columns[0];
    return {count == 0 ? 0.0F : op.scale / static_cast<float>(count)};
  }
  std::vector<float> found;
  for (std::int64_t n = 1; n <= all; ++n) found.push_back(op.scale / static_cast<float>(n));
  return found;
}

void add_overlap(Call& call, const Window& window, const View& x, const View& y) {
  if (y.levels && x.offset == 0)
    call.overlaps.push_back(
        {x.buffer, window_distance(window, x.shape, y.shape, 1, Reads::by_channel), false});
}

bool read_maximum(Reader& reader, const Step& step) {
  const auto* op = std::get_if<program::Pool>(&step.operation);
  if (op == nullptr || op->function != program::PoolFunction::max) return false;
  if (step.outputs.size() > 1 && step.outputs[1] != program::kNone)
    Reader::refuse(step, "places of maxima are an output of it");
  if (reader.value(step.inputs[0]).shape.size() != 4) Reader::refuse(step, "its input is not an image");
  const View x = reader.image(step, reader.view(step, step.inputs[0]));
  if (x.shape[0] != 1) Reader::refuse(step, "it runs over several images; one at a time can be emitted");
  const View y = reader.make(step.outputs[0]);
  const std::string window = reader.constants.structure(
      "rdq_window", "window", window_text(step, op->window, x, y, 1, 0), kWindowBytes);
  Call& call = reader.call(step, "rdq_max_pool");
  Reader::pass(call, window);
  reader.read(call, x);
  reader.write(call, y);
  add_overlap(call, op->window, x, y);
  reader.set(step.outputs[0], y);
  return true;
}

bool read_mean(Reader& reader, const Step& step) {
  const auto* op = std::get_if<program::Int8Pool>(&step.operation);
  if (op == nullptr) return false;
  if (op->requantize.activation != program::Activation{} || op->requantize.scale != 1)
    Reader::refuse(step, "a function follows its means before they are quantized");
  if (op->window.kernel.size() != 2)
    Reader::refuse(step, "its window extends along three axes; along two at most can be emitted");
  const View x = reader.image(step, reader.view(step, step.inputs[0]));
  if (x.shape[0] != 1) Reader::refuse(step, "it runs over several images; one at a time can be emitted");
  const View y = reader.make(step.outputs[0]);
  const std::vector<float> factors = multipliers(*op, x.shape, y.shape);
  check_range(step, "its multiplier, scale of input / scale of output,", op->scale, 1e30F);
  const std::int32_t by = shift_of(y);
  std::string text = "{" + window_text(step, op->window, x, y, 1, op->x_zero - shift_of(x)) + ", " +
                     reader.constants.floats("multiplier", factors);
  for (const std::int32_t n : {op->requantize.zero - by, op->requantize.low - by, op->requantize.high - by,
                               factors.size() > 1 ? 1 : 0})
    text += ", " + std::to_string(n);
  constexpr std::int64_t kMeanBytes = kWindowBytes + 12;
  const std::string mean = reader.constants.structure("rdq_mean", "mean", text + "}", kMeanBytes);
  Call& call = reader.call(step, y.levels ? "rdq_mean_pool" : "rdq_mean_pool_f32");
  Reader::pass(call, mean);
  reader.read(call, x);
  reader.write(call, y, y.levels ? "int8_t" : "float");
  add_overlap(call, op->window, x, y);
  reader.set(step.outputs[0], y);
  return true;
}

/// A mean over whole images of floats.
bool read_float_mean(Reader& reader, const Step& step) {
  const auto* op = std::get_if<program::Pool>(&step.operation);
  if (op == nullptr || op->function != program::PoolFunction::average) return false;
  const Shape& shape = reader.value(step.inputs[0]).shape;
  if (!is_whole_mean(reader, step))
    Reader::refuse(step, "it takes means of floats that are not of a whole image; quantize its output");
  const View x = reader.image(step, reader.view(step, step.inputs[0]));
  if (x.levels) Reader::refuse(step, "its output is not quantized");
  const View y = reader.make(step.outputs[0]);
  Call& call = reader.call(step, "rdq_mean_f32");
  Reader::pass(call, std::to_string(shape[2] * shape[3]));
  Reader::pass(call, std::to_string(shape[1]));
  reader.read(call, x, "float");
  reader.write(call, y, "float");
  reader.set(step.outputs[0], y);
  return true;
}

}  // namespace

bool is_whole_mean(const Reader& reader, const Step& step) {
  const auto* op = std::get_if<program::Pool>(&step.operation);
  if (op == nullptr || op->function != program::PoolFunction::average) return false;
  const Shape& shape = reader.value(step.inputs[0]).shape;
  return shape.size() == 4 && shape[0] == 1 && op->window.kernel == std::vector{shape[2], shape[3]} &&
         core::element_count(reader.value(step.outputs[0]).shape) == shape[1];
}

bool read_pool(Reader& reader, const Step& step) {
  return read_maximum(reader, step) || read_mean(reader, step) || read_float_mean(reader, step);
}

}  // namespace rdquant::emit
