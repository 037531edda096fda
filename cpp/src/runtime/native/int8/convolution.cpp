// Convolutions of levels on kernels of our own.
#include "runtime/native/float32/convolution.hpp"

#include <algorithm>
#include <cstring>
#include <optional>
#include <string>
#include <utility>

#include "rdquant/core/memory.hpp"
#include "runtime/native/int8/convolution_work.hpp"
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

/// Images of one pixel, as rows of a matrix: pixels of one image, which tiles can have several of.
bool are_rows(const kernels::ConvShape& s) {
  return s.n > 1 && s.groups == 1 && s.h == 1 && s.w == 1 && s.kh == 1 && s.kw == 1 && s.oh() == 1 &&
         s.ow() == 1;
}

/// The planes of a convolution over three axes.
std::optional<Int8Volume> volume_of(const Builder& builder, const Step& step) {
  const auto& op = std::get<Int8Convolution>(step.operation);
  auto volume = int8_volume_of(builder, step.inputs[0], step.outputs[0], op.window);
  if (!volume) return std::nullopt;
  const program::Value& y = builder.value(step.outputs[0]);
  volume->shape.k = y.shape[1];
  volume->shape.groups = op.groups;
  const bool to_float = y.dtype == core::DType::f32;
  volume->limit(to_float ? kernels::divide(y.shape[1], block_size()) * block_size() * Index{sizeof(float)} *
                               volume->shape.oh() * volume->shape.ow()
                         : 0);
  return volume;
}

/// A convolution over two axes, with its source as it is made ready.
Ready source_of(const Builder& builder, const Step& step) {
  const auto& op = std::get<Int8Convolution>(step.operation);
  return ready(conv_shape_of(builder, step.inputs[0], step.inputs[1], op.window, op.groups));
}

/// The shape that is run: of the source as it is made ready, and of rows as pixels of one image.
kernels::ConvShape shape_of(const Builder& builder, const Step& step) {
  kernels::ConvShape shape = source_of(builder, step).shape;
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
  args.src_image = args.src_pixel * area_of(x.shape);
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
  if (epilogue.to_float && x.shape.size() != 4) return args;
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
  args.dst_image = args.dst_pixel * area_of(y.shape);
  if (residual == kNone) return args;
  epilogue.residual_pixel = builder.pixel(residual);
  epilogue.residual_image = epilogue.residual_pixel * area_of(y.shape);
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
  if (core::element_count(builder.value(y).shape) * Index{sizeof(float)} <= kCached) return nullptr;
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

/// Has the work flip its `pixels` of uint8 first, where the kernels would rather have int8.
void make_signed(Builder& builder, Index pixels, Int8Work& work, std::vector<Place>& operands) {
  if (!work.kernels.prefers_signed || work.plan.depthwise || work.fixed.src_signed) return;
  const Index c = work.plan.shape.c;
  work.flip = Flip{pixels, c, work.fixed.src_pixel, (c + kChannels - 1) / kChannels * kChannels};
  work.flipped = operands.size();
  const auto bytes = static_cast<std::size_t>(work.flip->pixels * work.flip->to_pixel);
  operands.push_back(builder.scratch(bytes + core::kAlignment));
}

void add_scratch(Builder& builder, Int8Work& work, std::vector<Place>& operands) {
  if (work.plan.scratch == 0) return;
  work.scratch = operands.size();
  operands.push_back(builder.scratch(static_cast<std::size_t>(work.plan.scratch * builder.threads())));
}

/// Sizes of planes where those of whole values stood, and memory for what is made of them on the way.
void set_volume(Builder& builder, const Step& step, const Int8Volume& volume, Int8Work& work,
                std::vector<Place>& operands) {
  const core::Shape& y = builder.value(step.outputs[0]).shape;
  const Index area = volume.shape.oh() * volume.shape.ow();
  work.volume = volume;
  Int8ConvArgs& args = work.fixed;
  args.dst_image = args.dst_pixel * area;
  args.epilogue.residual_image = args.epilogue.residual_pixel * area;
  work.gathered = operands.size();
  operands.push_back(builder.scratch(
      volume.gathers ? static_cast<std::size_t>(volume.together * volume.plane_bytes()) + core::kAlignment
                     : 0));
  if (!args.epilogue.to_float || work.quantizes) return;
  const bool planes = area * y[2] == area_of(y);
  const Planes made{y[0], y[1], planes ? y[2] : 1, area, builder.threads()};
  const std::size_t bytes = static_cast<std::size_t>(volume.together * made.plane()) * sizeof(float);
  work.planes = made;
  args.dst_image = args.epilogue.float_residual_image = made.plane();
  operands.push_back(builder.scratch(bytes));
  operands.push_back(builder.scratch(work.residual ? bytes : 0));
}

/// The operands that are given only to some, in the order of Int8Work. `made`: the layout of the result.
void add_given(Builder& builder, const Step& step, Layout made, Int8Work& work,
               std::vector<Place>& operands) {
  const ValueId bias = program::input(step, 3), residual = program::input(step, 4),
                table = program::input(step, 5), zero = program::input(step, 6),
                scale = program::input(step, 7), slopes = program::input(step, 8);
  work.threads = builder.threads();
  if (bias != kNone) {
    operands.push_back(pack_words(builder, bias, work.plan.shape.k));
    (builder.value(bias).dtype == core::DType::f32 ? work.float_bias : work.whole_bias) = true;
  }
  if (residual != kNone) operands.push_back(builder.read(residual, made));
  if (table != kNone) operands.push_back(builder.read(table, Layout::plain));
  if (zero != kNone) operands.push_back(builder.read(zero, Layout::plain));
  if (scale != kNone) operands.push_back(builder.read(scale, Layout::plain));
  if (slopes != kNone) operands.push_back(pack_words(builder, slopes, work.plan.shape.k));
  work.residual = residual != kNone;
  work.table = table != kNone;
  work.zero = zero != kNone;
  work.signed_zero = work.zero && builder.value(zero).dtype == core::DType::i8;
  work.scale = scale != kNone;
  work.slopes = slopes != kNone;
  const bool to_float = builder.value(step.outputs[0]).dtype == core::DType::f32;
  work.min_max = to_float && is_ranged(builder, step.outputs[0]);
  if (work.min_max) operands.push_back(builder.make_min_max(step.outputs[0]));
}

}  // namespace

bool build_int8_convolution(Builder& builder, const Step& step) {
  const auto* op = std::get_if<Int8Convolution>(&step.operation);
  const kernels::Kernels& own = float_kernels();
  if (op == nullptr || own.block != block_size() || builder.value(step.inputs[0]).shape.size() < 4)
    return false;
  const auto activation = kernel_activation(op->requantize.activation);
  if (!activation || core::element_count(builder.value(step.outputs[0]).shape) == 0) return false;
  const bool images = builder.value(step.inputs[0]).shape.size() == 4;
  const auto volume = images ? std::nullopt : volume_of(builder, step);
  if (!images && !volume) return false;
  const kernels::ConvShape shape = volume ? volume->shape : shape_of(builder, step);
  if (shape.c == 0 || shape.k == 0 || shape.oh() < 1 || shape.ow() < 1) return false;
  const kernels::Int8Kernels& kernels = int8_kernels();
  const Int8Plan plan = kernels.plan(shape, builder.threads());
  const bool to_float = builder.value(step.outputs[0]).dtype == core::DType::f32;
  const Step* const within = to_float ? quantizer_within(builder, step, plan) : nullptr;
  const Layout floats = images ? Layout::blocked : Layout::plain;
  const Layout made = to_float ? floats : Layout::channels_last;
  Int8Work work{kernels, plan, arguments_of(builder, step, *activation)};
  const Ready source = volume ? Ready{shape, shape} : source_of(builder, step);
  std::shared_ptr<const Packer> packer = make_packer(kernels, plan, source);
  if (volume) packer = gathered_packer(std::move(packer), builder.value(step.inputs[1]).shape, *volume);
  std::vector<Place> operands{
      make_ready(builder, step, source, work.fixed),
      builder.pack(step.inputs[1], static_cast<std::size_t>(plan.bytes), std::move(packer)),
      pack_words(builder, step.inputs[2], shape.k),
      {}};
  add_given(builder, step, made, work, operands);
  std::string name = std::string(plan.depthwise ? "depthwise " : "dense ") + (volume ? "volume " : "") +
                     (plan.steps > 0 ? "avx512amx" : kernels.name);
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
  const core::Shape& x = builder.value(step.inputs[0]).shape;
  make_signed(builder, volume ? x[0] * area_of(x) : shape.n * shape.h * shape.w, work, operands);
  add_scratch(builder, work, operands);
  if (volume) set_volume(builder, step, *volume, work, operands);
  const std::size_t count = operands.size();
  builder.emit(make_native(name, count, std::move(work)), std::move(operands),
               within == nullptr ? made : Layout::channels_last);
  return true;
}

}  // namespace rdquant::runtime::native
