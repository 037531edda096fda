// Convolutions of levels on kernels of our own.
#include "runtime/native/float32/convolution.hpp"

#include <algorithm>
#include <cstring>
#include <optional>
#include <string>
#include <utility>

#include "rdquant/core/memory.hpp"
#include "rdquant/program/evaluate.hpp"
#include "runtime/native/int8/sources.hpp"
#include "runtime/native/loops.hpp"
#include "runtime/native/rules.hpp"

namespace rdquant::runtime::native {
namespace {

using kernels::Index;
using kernels::Int8ConvArgs;
using kernels::Int8Plan;
using program::Int8Convolution;
using program::kNone;
using program::Step;
using program::ValueId;

/// Words of 4 bytes, one per filter, zeros up to whole blocks; or one word for all of them.
class WordPacker final : public Packer {
 public:
  WordPacker(std::int64_t given, std::int64_t filters, std::int64_t padded)
      : given_(given), filters_(filters), padded_(padded) {}
  void pack(const void* from, void* to) const override {
    const auto* source = static_cast<const std::byte*>(from);
    auto* target = static_cast<std::byte*>(to);
    std::memset(target, 0, static_cast<std::size_t>(padded_) * 4);
    for (std::int64_t k = 0; k < filters_; ++k)
      std::memcpy(target + k * 4, source + (given_ == 1 ? 0 : k * 4), 4);
  }

 private:
  std::int64_t given_, filters_, padded_;
};

Place pack_words(Builder& builder, ValueId id, std::int64_t filters) {
  const std::int64_t padded = (filters + block_size() - 1) / block_size() * block_size();
  return builder.pack(
      id, static_cast<std::size_t>(padded) * 4,
      std::make_shared<WordPacker>(core::element_count(builder.value(id).shape), filters, padded));
}

/// Levels of uint8 as int8, each less 128.
struct Flip {
  Index pixels = 0, channels = 0, from_pixel = 0, to_pixel = 0;

  void operator()(const std::uint8_t* from, std::uint8_t* to, int threads) const {
    const auto flip = [](const std::uint8_t* source, std::uint8_t* target, Index count) {
      for (Index i = 0; i < count; ++i) target[i] = source[i] ^ 0x80U;
    };
    share(pixels, std::max<Index>(1, kGrain / to_pixel), threads, [&](Index begin, Index end) {
      if (from_pixel == to_pixel)
        return flip(from + begin * from_pixel, to + begin * to_pixel, (end - begin) * to_pixel);
      for (Index p = begin; p < end; ++p) flip(from + p * from_pixel, to + p * to_pixel, channels);
    });
  }
};

/// The operands of a level convolution: src, weights, multipliers, dst, and after them those that are given.
/// One that `quantizes` makes levels of its float32 results, of which it never stores any.
struct Int8Work {
  const kernels::Int8Kernels& kernels;
  Int8Plan plan;
  Int8ConvArgs fixed;
  bool whole_bias = false, float_bias = false, residual = false, table = false, zero = false, scale = false,
       slopes = false, min_max = false, quantizes = false;
  bool signed_zero = false;
  std::optional<Flip> flip = {};
  std::size_t flipped = 0;  ///< the operand that it writes
  std::size_t scratch = 0;  ///< and that of plan.scratch bytes for each thread
  int threads = 1;

  void operator()(void* const* operand) const {
    Int8ConvArgs args = fixed;
    args.src = static_cast<const std::uint8_t*>(operand[0]);
    void* const* const first = operand;
    args.weights = static_cast<const std::byte*>(operand[1]);
    args.epilogue.multipliers = static_cast<const float*>(operand[2]);
    args.dst = operand[3];
    operand += kFixed;
    if (whole_bias) args.bias = static_cast<const std::int32_t*>(*operand++);
    if (float_bias) args.epilogue.float_bias = static_cast<const float*>(*operand++);
    if (residual && args.epilogue.to_float)
      args.epilogue.float_residual = static_cast<const float*>(*operand++);
    if (residual && !args.epilogue.to_float)
      args.epilogue.residual = static_cast<const std::uint8_t*>(*operand++);
    if (table) args.epilogue.table = static_cast<const std::uint8_t*>(*operand++);
    if (zero) args.src_zero = int8_at(*operand++, signed_zero);
    if (scale) args.epilogue.multiplier = *static_cast<const float*>(*operand++);
    if (slopes) args.epilogue.activation.slopes = static_cast<const float*>(*operand++);
    if (flip) make_signed(args, static_cast<std::uint8_t*>(first[flipped]));
    if (plan.scratch > 0) args.scratch = static_cast<std::byte*>(first[scratch]);
    if (!min_max) return run(args);
    args.epilogue.min_max = static_cast<float*>(*operand);
    std::fill_n(args.epilogue.min_max, kMinMaxFloats * static_cast<std::size_t>(threads),
                0.0F);  // a range holds 0
    run(args);
    args.epilogue.min_max = nullptr;
    if (quantizes) make_levels(args, operand);
  }

 private:
  void run(const Int8ConvArgs& args) const {
    share_ranked(plan.items, 1, threads, [&](Index begin, Index end, int rank) {
      Int8ConvArgs own = args;
      if (own.scratch != nullptr) own.scratch += rank * plan.scratch;
      if (own.epilogue.min_max != nullptr)
        own.epilogue.min_max += static_cast<std::size_t>(rank) * kMinMaxFloats;
      kernels.convolve(plan, own, begin, end);
    });
  }

  void make_signed(Int8ConvArgs& args, std::uint8_t* flipped_image) const {
    (*flip)(args.src, flipped_image, threads);
    args.src = flipped_image;
    args.src_pixel = flip->to_pixel;
    args.src_image = flip->to_pixel * plan.shape.h * plan.shape.w;
    args.src_signed = true;
    args.src_zero -= 128;
  }

  /// The sums once more, now that the range of what comes of them is known. Operands: min_max, scale, zero.
  void make_levels(Int8ConvArgs args, void* const* operand) const {
    const auto [low, high] = range_of({operand, 1}, threads);
    const program::DynamicGrid grid = program::dynamic_grid(low, high);
    *static_cast<float*>(operand[1]) = grid.scale;
    *static_cast<std::uint8_t*>(operand[2]) = static_cast<std::uint8_t>(grid.zero);
    args.epilogue.to_float = args.epilogue.measured = false;
    args.epilogue.out_scale = grid.scale;
    args.epilogue.zero = grid.zero;
    args.epilogue.low = 0;
    args.epilogue.high = 255;
    run(args);
  }

  static constexpr std::size_t kFixed = 4;
};

/// Images of one pixel, as rows of a matrix: pixels of one image, which tiles can have several of.
bool are_rows(const kernels::ConvShape& s) {
  return s.n > 1 && s.groups == 1 && s.h == 1 && s.w == 1 && s.kh == 1 && s.kw == 1 && s.oh() == 1 &&
         s.ow() == 1;
}

/// The shape that is run: of the source as it is made ready, and of rows as pixels of one image.
kernels::ConvShape shape_of(const Builder& builder, const Step& step) {
  const auto& op = std::get<Int8Convolution>(step.operation);
  kernels::ConvShape shape =
      ready(conv_shape_of(builder, step.inputs[0], step.inputs[1], op.window, op.groups)).shape;
  if (!are_rows(shape)) return shape;
  shape.w = std::exchange(shape.n, 1);
  shape.sh = shape.sw = 1;
  return shape;
}

/// Sizes and parameters; the addresses come with each run.
Int8ConvArgs arguments_of(const Builder& builder, const Step& step, const kernels::Activation& activation) {
  const auto& op = std::get<Int8Convolution>(step.operation);
  const program::Value& x = builder.value(step.inputs[0]);
  const program::Value& y = builder.value(step.outputs[0]);
  const ValueId residual = program::input(step, 4);
  Int8ConvArgs args;
  args.src_pixel = builder.pixel(step.inputs[0]);
  args.src_image = args.src_pixel * x.shape[2] * x.shape[3];
  args.src_signed = x.dtype == core::DType::i8;
  args.src_zero = op.x_zero;
  kernels::Int8Epilogue& epilogue = args.epilogue;
  epilogue.activation = activation;
  epilogue.scale = op.requantize.scale;
  epilogue.zero = op.requantize.zero;
  epilogue.low = op.requantize.low;
  epilogue.high = op.requantize.high;
  epilogue.residual_last = op.residual_last;
  epilogue.to_float = y.dtype == core::DType::f32;
  if (epilogue.to_float) {
    args.dst_image = static_cast<Index>(bytes_in(y, Layout::blocked) / sizeof(float)) / y.shape[0];
    epilogue.float_residual_image = args.dst_image;
    if (y.shape[2] == 1 && y.shape[3] == 1) {  // images may be pixels of one
      args.float_pixel = args.dst_image;
      args.float_block = block_size();
    }
    return args;
  }
  args.dst_pixel = builder.pixel(step.outputs[0]);
  args.dst_image = args.dst_pixel * y.shape[2] * y.shape[3];
  if (residual == kNone) return args;
  epilogue.residual_pixel = builder.pixel(residual);
  epilogue.residual_image = epilogue.residual_pixel * y.shape[2] * y.shape[3];
  epilogue.sum = int8_sum(op.sum, y, y);
  return args;
}

/// The DynamicQuantize that alone reads `id`, or null.
const Step* quantizer_of(const Builder& builder, ValueId id) {
  const Step* const reader = builder.only_reader(id);
  const bool quantizes =
      reader != nullptr && std::holds_alternative<program::DynamicQuantize>(reader->operation);
  return quantizes && reader->inputs[0] == id ? reader : nullptr;
}

/// Numbers that do not stay in the cache until they are read again cost more than this many products of four
/// levels for each of them.
constexpr Index kCached = Index{1} << 20;  // bytes
constexpr Index kFewProducts = 12;

/// What makes levels of the convolution's results, where nothing else reads them and to find the sums twice,
/// once for the range and once for the levels, is cheaper than to store floats.
const Step* quantizer_within(const Builder& builder, const Step& step, const Int8Plan& plan) {
  const ValueId y = step.outputs[0];
  const Step* const quantizer = quantizer_of(builder, y);
  if (quantizer == nullptr || program::input(step, 4) != kNone) return nullptr;
  const std::vector<ValueId>& made = quantizer->outputs;
  if (made.size() < 3 || std::ranges::find(made, kNone) != made.end() ||
      builder.layout(made[0]) != Layout::channels_last)
    return nullptr;
  const auto& op = std::get<Int8Convolution>(step.operation);
  if (!kernels::measures(*kernel_activation(op.requantize.activation))) return nullptr;
  const kernels::ConvShape& s = plan.shape;
  if (s.n * s.k * s.oh() * s.ow() * Index{sizeof(float)} <= kCached) return nullptr;
  if (plan.depthwise) return quantizer;
  const Index products = s.kh * s.kw * kernels::divide(plan.group_c, 4);
  return products <= kFewProducts ? quantizer : nullptr;
}

/// The destination is that of `quantizer`'s levels.
void set_levels(const Builder& builder, const Step& quantizer, Int8Work& work) {
  const Int8Layout int8_layout = int8_layout_of(builder, quantizer.outputs[0]);
  work.quantizes = work.fixed.epilogue.measured = true;
  work.fixed.dst_image = int8_layout.image;
  work.fixed.dst_pixel = int8_layout.pixel;
}

Flip flip_of(const kernels::ConvShape& s, Index pixel) {
  return {s.n * s.h * s.w, s.c, pixel, (s.c + kChannels - 1) / kChannels * kChannels};
}

/// Has the work flip its levels of uint8 first, where the kernels would rather have int8.
void make_signed(Builder& builder, Int8Work& work, std::vector<Place>& operands) {
  if (!work.kernels.prefers_signed || work.plan.depthwise || work.fixed.src_signed) return;
  work.flip = flip_of(work.plan.shape, work.fixed.src_pixel);
  work.flipped = operands.size();
  const auto bytes = static_cast<std::size_t>(work.flip->pixels * work.flip->to_pixel);
  operands.push_back(builder.scratch(bytes + core::kAlignment));
}

void add_scratch(Builder& builder, Int8Work& work, std::vector<Place>& operands) {
  if (work.plan.scratch == 0) return;
  work.scratch = operands.size();
  operands.push_back(builder.scratch(static_cast<std::size_t>(work.plan.scratch * builder.threads())));
}

/// Adds the operands that a step may have, in the order in which the work takes them.
void add_given(Builder& builder, const Step& step, Index filters, Layout made, Int8Work& work,
               std::vector<Place>& operands) {
  const ValueId bias = program::input(step, 3), residual = program::input(step, 4),
                table = program::input(step, 5), zero = program::input(step, 6),
                scale = program::input(step, 7), slopes = program::input(step, 8);
  if (bias != kNone) {
    operands.push_back(pack_words(builder, bias, filters));
    (builder.value(bias).dtype == core::DType::f32 ? work.float_bias : work.whole_bias) = true;
  }
  if (residual != kNone) operands.push_back(builder.read(residual, made));
  if (table != kNone) operands.push_back(builder.read(table, Layout::plain));
  if (zero != kNone) operands.push_back(builder.read(zero, Layout::plain));
  if (scale != kNone) operands.push_back(builder.read(scale, Layout::plain));
  if (slopes != kNone) operands.push_back(pack_words(builder, slopes, filters));
  work.residual = residual != kNone;
  work.table = table != kNone;
  work.zero = zero != kNone;
  work.signed_zero = work.zero && builder.value(zero).dtype == core::DType::i8;
  work.scale = scale != kNone;
  work.slopes = slopes != kNone;
}

Int8Plan plan_of(const Builder& builder, const Step& step) {
  return int8_kernels().plan(shape_of(builder, step), builder.threads());
}

}  // namespace

bool build_int8_convolution(Builder& builder, const Step& step) {
  const auto* op = std::get_if<Int8Convolution>(&step.operation);
  const kernels::Kernels& own = float_kernels();
  if (op == nullptr || own.block != block_size() || builder.value(step.inputs[0]).shape.size() != 4)
    return false;
  const auto activation = kernel_activation(op->requantize.activation);
  if (!activation || core::element_count(builder.value(step.outputs[0]).shape) == 0) return false;
  const kernels::ConvShape shape = shape_of(builder, step);
  if (shape.c == 0 || shape.k == 0 || shape.oh() < 1 || shape.ow() < 1) return false;
  const kernels::Int8Kernels& kernels = int8_kernels();
  const Int8Plan plan = plan_of(builder, step);
  const bool to_float = builder.value(step.outputs[0]).dtype == core::DType::f32;
  const Step* const within = to_float ? quantizer_within(builder, step, plan) : nullptr;
  const Layout made = to_float ? Layout::blocked : Layout::channels_last;
  Int8Work work{kernels, plan, arguments_of(builder, step, *activation)};
  work.threads = builder.threads();
  const Ready source = ready(conv_shape_of(builder, step.inputs[0], step.inputs[1], op->window, op->groups));
  std::vector<Place> operands{
      make_ready(builder, step, source, work.fixed),
      builder.pack(step.inputs[1], static_cast<std::size_t>(plan.bytes), make_packer(kernels, plan, source)),
      pack_words(builder, step.inputs[2], shape.k),
      {}};
  add_given(builder, step, shape.k, made, work, operands);
  work.min_max = to_float && is_ranged(builder, step.outputs[0]);
  if (work.min_max) operands.push_back(builder.make_min_max(step.outputs[0]));
  std::string name =
      std::string(plan.depthwise ? "depthwise " : "dense ") + (plan.steps > 0 ? "avx512amx" : kernels.name);
  if (within != nullptr) {
    name += ", range and quantize";
    set_levels(builder, *within, work);
    operands.push_back(builder.write(within->outputs[1], Layout::plain));
    operands.push_back(builder.write(within->outputs[2], Layout::plain));
    operands[3] = builder.write(within->outputs[0], Layout::channels_last);
    builder.absorb(*within);
  } else {
    operands[3] = builder.write(step.outputs[0], made);
  }
  make_signed(builder, work, operands);
  add_scratch(builder, work, operands);
  const std::size_t count = operands.size();
  builder.emit(make_native(name, count, std::move(work)), std::move(operands),
               within == nullptr ? made : Layout::channels_last);
  return true;
}

}  // namespace rdquant::runtime::native
