// Convolutions and fully connected layers: weights in the order of their kernel, biases with the zero point in them.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <optional>

#include "emit/reader.hpp"
#include "rdquant/codec/table_stream.hpp"

namespace rdquant::emit {
namespace {

using core::DType;
using core::Shape;
using program::Int8Convolution;
using program::Step;
using program::ValueId;

constexpr std::int64_t kMostTaps = 64;  // pointers to them lie on the stack
constexpr std::int64_t kCodeBytes = 24;

/// Weights [k, taps, depth] with the channels of a tap side by side.
struct Filters {
  std::int64_t filters = 0, taps = 0, depth = 0;
  std::vector<std::int8_t> levels;

  [[nodiscard]] std::int64_t length() const { return taps * depth; }
  [[nodiscard]] const std::int8_t* filter(std::int64_t k) const {
    return &levels[static_cast<std::size_t>(k * length())];
  }
};

/// From the program's order [k, depth, rows, columns]. `source`: the image that x is a vector of.
Filters filters_of(const core::Tensor& weights, const View* source) {
  const Shape& shape = weights.shape();
  Filters found{shape[0], shape[2] * shape[3], shape[1], {}};
  const auto* from = weights.view().as<std::int8_t>();
  if (source != nullptr) {  // channels first → channels last
    found.depth = source->shape[1];
    found.taps = shape[1] / std::max<std::int64_t>(1, found.depth);
  }
  found.levels.resize(static_cast<std::size_t>(weights.size()));
  for (std::int64_t k = 0; k < found.filters; ++k) {
    for (std::int64_t c = 0; c < found.depth; ++c) {
      for (std::int64_t t = 0; t < found.taps; ++t)
        found.levels[static_cast<std::size_t>((k * found.taps + t) * found.depth + c)] =
            from[(k * found.depth + c) * found.taps + t];
    }
  }
  return found;
}

/// For rdq_conv: taps filled up to a multiple of four.
std::vector<std::int8_t> in_fours(const Filters& f) {
  std::vector<std::int8_t> packed;
  for (std::int64_t k = 0; k < f.filters; ++k) {
    packed.insert(packed.end(), f.filter(k), f.filter(k) + f.length());
    packed.resize((packed.size() + 3) / 4 * 4);
  }
  return packed;
}

/// For rdq_dense: filters two by two, four taps of each in turn.
std::vector<std::int8_t> in_pairs(const Filters& f) {
  const std::int64_t blocks = (f.length() + 3) / 4;
  std::vector<std::int8_t> packed;
  for (std::int64_t k = 0; k < f.filters; k += 2) {
    for (std::int64_t b = 0; b < blocks; ++b) {
      for (std::int64_t j = k; j < std::min(k + 2, f.filters); ++j) {
        for (std::int64_t i = 4 * b; i < 4 * b + 4; ++i)
          packed.push_back(i < f.length() ? f.filter(j)[i] : std::int8_t{0});
      }
    }
  }
  return packed;
}

/// For rdq_depthwise: four channels after four, taps by channels; then those left over.
std::vector<std::int8_t> by_taps(const Filters& f) {
  std::vector<std::int8_t> packed;
  for (std::int64_t first = 0; first < f.filters;) {
    const std::int64_t end = f.filters - first >= 4 ? first + 4 : f.filters;
    for (std::int64_t t = 0; t < f.taps; ++t) {
      for (std::int64_t k = first; k < end; ++k) packed.push_back(f.filter(k)[t]);
    }
    first = end;
  }
  return packed;
}

/// Biases with −x_zero · Σw in them, so that kernels multiply levels as they are.
std::vector<std::int32_t> folded(const Reader& reader, const Step& step, const Filters& f,
                                 std::int32_t x_zero) {
  const ValueId bias = program::input(step, 3);
  const bool whole = bias != program::kNone && reader.value(bias).dtype == DType::i32;
  std::vector<std::int32_t> made;
  for (std::int64_t k = 0; k < f.filters; ++k) {
    std::int64_t sum = 0, reach = 0;
    for (std::int64_t i = 0; i < f.length(); ++i) {
      sum += f.filter(k)[i];
      reach += std::abs(f.filter(k)[i]);
    }
    std::int64_t start = whole ? reader.constant(step, bias).view().as<std::int32_t>()[k] : 0;
    start -= x_zero * sum;
    if (std::abs(start) + 128 * reach > std::numeric_limits<std::int32_t>::max())
      Reader::refuse(step, "sums of filter " + std::to_string(k) + " do not fit into 32 bits");
    made.push_back(static_cast<std::int32_t>(start));
  }
  return made;
}

/// Factors of float32 within what both ways of rounding hold.
void check_factors(const Step& step, const std::string& what, std::span<const float> factors, float most) {
  for (const float f : factors) check_range(step, what, f, most);
}

std::span<const float> floats_of(const core::Tensor& tensor) {
  return {tensor.view().as<float>(), static_cast<std::size_t>(tensor.size())};
}

std::string numbers(std::initializer_list<std::int32_t> values) {
  std::string text;
  for (const std::int32_t v : values) text += (text.empty() ? "" : ", ") + std::to_string(v);
  return text;
}

/// The epilogue's text: see rdq_epilogue.
std::string epilogue_text(Reader& reader, const Step& step, const std::vector<std::int32_t>& bias, bool moved,
                          const View* residual) {
  const auto& op = std::get<Int8Convolution>(step.operation);
  const ValueId offset = program::input(step, 3), table = program::input(step, 5);
  const std::span<const float> factors = floats_of(reader.constant(step, step.inputs[2]));
  std::vector<float> multipliers(factors.begin(), factors.end());
  if (multipliers.size() == 1) multipliers.resize(bias.size(), multipliers[0]);
  check_factors(step, "its multiplier, scale of input × scale of weights / scale of output,", multipliers,
                1e30F);
  std::string text = "{" + reader.constants.integers("bias", bias) + ", " +
                     reader.constants.floats("multiplier", multipliers);
  if (offset != program::kNone && reader.value(offset).dtype == DType::f32) {
    const std::span<const float> offsets = floats_of(reader.constant(step, offset));
    check_factors(step, "its bias / scale of output", offsets,
                  reader.value(step.outputs[0]).dtype == DType::f32 ? 1e30F : 1e6F);
    text += ", " + reader.constants.floats("offset", offsets);
  } else {
    text += ", NULL";
  }
  const std::int32_t by = moved ? 128 : 0, other = residual == nullptr ? 0 : shift_of(*residual);
  if (table != program::kNone) {
    const auto* from = reader.constant(step, table).view().as<std::uint8_t>();
    std::vector<std::int8_t> levels(256);
    for (std::size_t i = 0; i < 256; ++i)  // by int8 levels, of int8 levels
      levels[i] = static_cast<std::int8_t>(from[i ^ static_cast<std::size_t>(by)] ^ by);
    text += ", " + reader.constants.levels("table", levels);
  } else {
    text += ", NULL";
  }
  const auto& to = op.requantize;
  const auto& sum = op.sum;
  text += ", " + numbers({to.zero - by, to.low - by, to.high - by});
  if (residual == nullptr) return text + ", " + numbers({0, 0, 0, 0, 0}) + ", 0, 0}";
  check_factors(step, "in the sum that follows it, scale of input / scale of output",
                std::array{sum.a_scale, sum.b_scale}, 4096);
  text += ", " + numbers({sum.a_zero - by, sum.b_zero - other, sum.zero - by, sum.low - by, sum.high - by});
  return text + ", " + float_text(sum.a_scale) + ", " + float_text(sum.b_scale) + "}";
}

/// One pixel a row: fully connected layers and convolutions of 1 × 1 do not care which image it belongs to.
bool is_pointwise(const program::Window& w) {
  const auto ones = [](const std::vector<std::int64_t>& v) {
    return std::ranges::all_of(v, [](auto n) { return n == 1; });
  };
  const auto zeros = [](const std::vector<std::int64_t>& v) {
    return std::ranges::all_of(v, [](auto n) { return n == 0; });
  };
  return ones(w.kernel) && ones(w.strides) && zeros(w.pads_begin) && zeros(w.pads_end);
}

View as_rows(View v) {
  v.shape = {1, v.shape[1], v.shape[0] * v.shape[2], v.shape[3]};
  v.strides = channels_last(v.shape);
  return v;
}

void check(const Reader& reader, const Step& step) {
  const auto& op = std::get<Int8Convolution>(step.operation);
  if (op.window.kernel.size() != 2)
    Reader::refuse(step, "its kernel extends along three axes; along two at most can be emitted");
  if (program::input(step, 6) != program::kNone || program::input(step, 7) != program::kNone)
    Reader::refuse(step, "its input's range is found at run time; quantize the model with --mode static");
  if (reader.value(step.outputs[0]).dtype == DType::f32) {
    const auto f = op.requantize.activation.function;
    if (f != program::Function::identity && f != program::Function::relu)
      Reader::refuse(step, "it ends in floats with the activation " + std::string(function_name(f)) +
                               "; quantize what it gives, or let the model end before that");
    if (program::input(step, 4) != program::kNone)
      Reader::refuse(step, "it adds floats; quantize what it adds");
    return;
  }
  if (op.requantize.activation != program::Activation{} || op.requantize.scale != 1)
    Reader::refuse(step, "the activation " + std::string(function_name(op.requantize.activation.function)) +
                             " follows its sums before they are quantized; quantize its input, too");
}

/// What the kernel is, and what it needs besides the layer.
struct Choice {
  std::string function;
  std::vector<std::int8_t> weights;
  std::int64_t scratch = 0;
  std::optional<codec::TableStream> coded;  ///< in place of the weights
};

/// Bytes in which rdq_conv gathers taps that do not lie side by side in fours.
std::int64_t gathered(const program::Window& w, std::int64_t channels) {
  const std::int64_t width = w.kernel[1] * channels;
  const auto none = [](const std::vector<std::int64_t>& v) {
    return std::ranges::all_of(v, [](auto n) { return n == 0; });
  };
  if (width % 4 != 0) return (w.kernel[0] * width + 3) / 4 * 4;
  return none(w.pads_begin) && none(w.pads_end) && w.dilations[1] == 1 ? 0 : width;
}

/// Whether a fully connected layer of so many products is better done by rdq_conv, which computes four pixels for its one: where
/// the network has that kernel anyway, and those products are few.
bool is_small_part(const Reader& reader, std::int64_t macs) {
  constexpr std::int64_t kTimes = 4, kPart = 50;
  std::int64_t others = 0;
  for (const Step& step : reader.steps()) {
    const auto* op = std::get_if<Int8Convolution>(&step.operation);
    if (op == nullptr || op->groups != 1 || !reader.is_constant(step.inputs[1])) continue;
    const Shape &y = reader.value(step.outputs[0]).shape, &w = reader.value(step.inputs[1]).shape;
    if (y.size() == 4 && y[2] * y[3] > 1) others += core::element_count(y) * core::element_count(w) / w[0];
  }
  return kPart * (kTimes - 1) * macs < others;
}

bool is_depthwise(const Filters& f, std::int64_t groups, std::int64_t channels) {
  return groups == channels && groups == f.filters && f.taps <= kMostTaps;
}

Choice choose(const Filters& f, const program::Window& window, std::int64_t groups, std::int64_t channels,
              std::int64_t pixels, bool floats, bool dense) {
  if (floats) return {"rdq_grouped_f32", f.levels, 0, {}};
  if (groups == 1) {
    if (dense && pixels == 1 && f.taps == 1 && f.depth % 4 == 0) return {"rdq_dense", in_pairs(f), 0, {}};
    const std::int64_t patches = 8 * ((f.length() + 3) / 4 * 4);
    return {"rdq_conv", in_fours(f), patches + gathered(window, channels), {}};
  }
  if (is_depthwise(f, groups, channels)) return {"rdq_depthwise", by_taps(f), channels, {}};
  return {"rdq_grouped", f.levels, 0, {}};
}

/// The same with its weights coded, where that takes fewer bytes, and no more memory than there is beside the `images` that the
/// layer reads and writes. They are decoded four filters at a time.
void encode(Choice& choice, std::int64_t length, std::int64_t images, std::int64_t room) {
  if (choice.function != "rdq_conv" && choice.function != "rdq_dense") return;
  const std::int64_t decoded = 4 * ((length + 3) / 4 * 4);  // four filters
  if (choice.function == "rdq_conv" && images + choice.scratch + decoded > room) return;
  codec::TableStream coded = codec::encode_table_stream(choice.weights);
  if (coded.bytes() + kCodeBytes >= choice.weights.size()) return;
  choice.function = choice.function == "rdq_conv" ? "rdq_coded_conv" : "rdq_coded_dense";
  if (choice.scratch > 0) choice.scratch += decoded;
  choice.coded = std::move(coded);
}

/// The struct of a stream in C.
std::string code_text(Reader& reader, const codec::TableStream& coded) {
  const std::string edges = reader.constants.indices("edges", coded.edges),
                    bins = reader.constants.octets("bins", coded.bins);
  std::string words = "NULL, NULL";
  if (!coded.words.empty()) {
    words = reader.constants.indices("words", coded.words);
    words += ", " + words + " + " + std::to_string(coded.words.size());
  }
  const std::string text = "{" + words + ", " + edges + ", " + bins + ", " + std::to_string(coded.state) +
                           "U, " + std::to_string(coded.least) + "}";
  return reader.constants.structure("rdq_code", "code", text, kCodeBytes);
}

/// What a layer with coded weights costs.
void note(Call& call, const Choice& choice, std::int64_t images) {
  if (!choice.coded) return;
  call.decoded = static_cast<std::int64_t>(choice.weights.size());
  call.working = choice.scratch == 0 ? 0 : images + choice.scratch;
}

void add_overlaps(Call& call, const program::Window& window, const View& x, const View& y,
                  const View* residual) {
  if (call.function == "rdq_dense" || call.function == "rdq_coded_dense") {
    if (residual != nullptr && residual->offset == 0)
      call.overlaps.push_back({residual->buffer, y.shape[1], true});
    return;
  }
  if (call.function == "rdq_coded_conv") {  // all pixels for four filters, then for the next four
    if (residual != nullptr && residual->offset == 0)
      call.overlaps.push_back({residual->buffer, core::element_count(y.shape), true});
    return;
  }
  const bool dense = call.function == "rdq_conv";
  const std::int64_t together = dense ? 4 : 1;
  const Reads reads = dense                              ? Reads::ahead
                      : call.function == "rdq_depthwise" ? Reads::by_channel
                                                         : Reads::between;
  if (!y.levels) return;
  if (x.offset == 0)
    call.overlaps.push_back({x.buffer, window_distance(window, x.shape, y.shape, together, reads), false});
  if (residual != nullptr && residual->offset == 0)
    call.overlaps.push_back({residual->buffer, together * y.shape[1], true});
}

/// What the placing of an image that is its buffer's only one needs to know.
void relate(Call& call, const program::Window& window, const View& x, const View& y, const View* residual,
            const std::string& layer) {
  const std::vector<Argument>& a = call.arguments;
  if (call.function == "rdq_conv")
    call.windowed = std::make_shared<Windowed>(Windowed{window, x.shape, y.shape, layer, a[1], a[2], a[3]});
  add_overlaps(call, window, x, y, residual);
}

}  // namespace

bool read_convolution(Reader& reader, const Step& step) {
  const auto* op = std::get_if<Int8Convolution>(&step.operation);
  if (op == nullptr) return false;
  check(reader, step);
  View x = reader.view(step, step.inputs[0]);
  const core::Tensor& weights = reader.constant(step, step.inputs[1]);
  const View* source = x.flattened != nullptr && weights.shape()[1] > 1 ? x.flattened.get() : nullptr;
  const Filters f = filters_of(weights, source);
  if (source == nullptr) x = reader.image(step, x);
  const bool strided = op->groups == 1 || is_depthwise(f, op->groups, x.shape[1]);
  View y = strided ? reader.make_part(step.outputs[0]) : reader.make(step.outputs[0]);
  View residual;
  const ValueId other = program::input(step, 4);
  if (other != program::kNone) residual = reader.image(step, reader.view(step, other));
  const View given = y;
  const bool alone = given.offset == 0 && has_strides(given, channels_last(given.shape));
  if (is_pointwise(op->window)) {
    x = as_rows(x);
    y = as_rows(y);
  }
  if (x.shape[0] != 1)
    Reader::refuse(step,
                   "it runs over " + std::to_string(x.shape[0]) + " images; one at a time can be emitted");
  const std::int64_t pixels = y.shape[2] * y.shape[3], flat = source != nullptr ? f.length() : f.depth;
  Filters shaped = f;
  if (source != nullptr) shaped = {f.filters, 1, flat, f.levels};
  Choice choice = choose(shaped, op->window, op->groups, x.shape[1], pixels, !y.levels,
                         !is_small_part(reader, f.filters * shaped.length()));
  const std::int32_t x_zero = op->x_zero - shift_of(x);
  const View* added = other == program::kNone ? nullptr : &residual;
  reader.constants.comment(step.node);
  const std::string epilogue = epilogue_text(reader, step, folded(reader, step, f, x_zero), y.moved, added);
  const std::string window =
      window_text(step, op->window, x, y, strided && y.levels ? given.strides[3] : op->groups, x_zero);
  const std::int64_t images = core::element_count(x.shape) + core::element_count(y.shape);
  if (reader.room() > 0) encode(choice, shaped.length(), images, reader.room());
  const std::string code = choice.coded ? code_text(reader, *choice.coded) : std::string();
  const std::string levels = choice.coded ? "NULL" : reader.constants.levels("weights", choice.weights);
  const std::string layer = reader.constants.structure(
      "rdq_layer", "layer", "{" + window + ",\n    " + epilogue + ",\n    " + levels + "}", kLayerBytes);
  const int work = choice.scratch == 0 ? -1 : reader.scratch(choice.scratch);
  Call& call = reader.call(step, choice.function);
  Reader::pass(call, layer);
  if (choice.coded) Reader::pass(call, code);
  if (!y.levels)
    Reader::pass(call, op->requantize.activation.function == program::Function::relu ? "1" : "0");
  reader.read(call, x);
  if (y.levels && added != nullptr) reader.read(call, residual);
  if (y.levels && added == nullptr) Reader::pass(call, "NULL");
  reader.write(call, y, y.levels ? "int8_t" : "float");
  if (work >= 0) reader.work(call, work, choice.function == "rdq_depthwise" ? "int8_t" : "int16_t");
  if (choice.function == "rdq_depthwise") reader.network.taps = std::max(reader.network.taps, f.taps);
  call.macs = pixels * f.filters * shaped.length();
  note(call, choice, images);
  if (alone) relate(call, op->window, x, y, added, layer);
  reader.set(step.outputs[0], given);
  return true;
}

}  // namespace rdquant::emit
