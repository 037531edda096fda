#include "runtime/native/float_convolution.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "rdquant/core/error.hpp"
#include "runtime/kernels/float32/winograd/winograd.hpp"
#include "runtime/native/loops.hpp"

namespace rdquant::runtime::native {
namespace {

using kernels::ConvPlan;
using kernels::Index;
using program::kNone;
using program::ValueId;

/// Weights in the order of a plan of our own, which may have more channels than there are: those get zeros.
class FilterPacker final : public Packer {
 public:
  FilterPacker(const kernels::Kernels& kernels, ConvPlan plan, Index channels)
      : kernels_(kernels), plan_(plan), channels_(channels) {}
  void pack(const void* from, void* to) const override {
    const auto* weights = static_cast<const float*>(from);
    const kernels::ConvShape& s = plan_.shape;
    const Index wanted = s.c / s.groups;
    std::vector<float> widened;
    if (channels_ != wanted) {
      const Index area = s.kh * s.kw;
      widened.assign(static_cast<std::size_t>(s.k * wanted * area), 0.0F);
      for (Index k = 0; k < s.k; ++k) {
        std::copy_n(weights + k * channels_ * area, channels_ * area, widened.data() + k * wanted * area);
      }
      weights = widened.data();
    }
    kernels_.pack(plan_, weights, static_cast<float*>(to), 0, plan_.pack_items);
  }

 private:
  const kernels::Kernels& kernels_;
  ConvPlan plan_;
  Index channels_;  ///< per group, of the weights given
};

/// One number per channel, zeros up to whole blocks; or one number for all of them.
class VectorPacker final : public Packer {
 public:
  VectorPacker(std::int64_t given, std::int64_t channels, std::int64_t padded)
      : given_(given), channels_(channels), padded_(padded) {}
  void pack(const void* from, void* to) const override {
    const auto* source = static_cast<const float*>(from);
    auto* target = static_cast<float*>(to);
    std::fill_n(target, padded_, 0.0F);
    for (std::int64_t i = 0; i < channels_; ++i) target[i] = source[given_ == 1 ? 0 : i];
  }

 private:
  std::int64_t given_, channels_, padded_;
};

Place pack_vector(Builder& builder, ValueId id, std::int64_t channels) {
  const std::int64_t padded = (channels + block_size() - 1) / block_size() * block_size();
  const std::int64_t given = core::element_count(builder.value(id).shape);
  if (given == padded) return builder.read(id, Layout::plain);
  return builder.pack(id, static_cast<std::size_t>(padded) * sizeof(float),
                      std::make_shared<VectorPacker>(given, channels, padded));
}

/// Weights in Winograd's domain.
class WinogradPacker final : public Packer {
 public:
  WinogradPacker(const kernels::Winograd& kernels, const kernels::WinogradPlan& plan, int threads)
      : kernels_(kernels), plan_(plan), threads_(threads) {}
  void pack(const void* from, void* to) const override {
    share(kernels::divide(plan_.shape.k, plan_.block), 1, threads_, [&](Index begin, Index end) {
      kernels_.pack(plan_, static_cast<const float*>(from), static_cast<float*>(to), begin, end);
    });
  }

 private:
  const kernels::Winograd& kernels_;
  kernels::WinogradPlan plan_;
  int threads_;
};

/// What every kernel of a convolution is told: operands src, weights, dst, scratch (null where it needs
/// none), then bias, residual and slopes where given.
struct Arguments {
  kernels::ConvArgs fixed;
  bool bias, residual, slopes;

  [[nodiscard]] kernels::ConvArgs at(void* const* operand) const {
    kernels::ConvArgs args = fixed;
    args.src = static_cast<const float*>(operand[0]);
    args.weights = static_cast<const float*>(operand[1]);
    args.dst = static_cast<float*>(operand[2]);
    operand += kFixed;
    if (bias) args.bias = static_cast<const float*>(*operand++);
    if (residual) args.residual = static_cast<const float*>(*operand++);
    if (slopes) args.activation.slopes = static_cast<const float*>(*operand);
    return args;
  }

  static constexpr std::size_t kScratch = 3, kFixed = 4;
};

struct NativeConvolution {
  const kernels::Kernels& kernels;
  ConvPlan plan;
  Arguments arguments;
  int threads;

  void operator()(void* const* operand) const {
    const kernels::ConvArgs args = arguments.at(operand);
    share(plan.items, 1, threads, [&](Index begin, Index end) { kernels.convolve(plan, args, begin, end); });
  }
};

struct WinogradConvolution {
  const kernels::Winograd& kernels;
  kernels::WinogradPlan plan;
  Arguments arguments;
  int threads;
  Index scratch;  ///< floats between the threads' parts

  void operator()(void* const* operand) const {
    const kernels::ConvArgs args = arguments.at(operand);
    auto* const memory = static_cast<float*>(operand[Arguments::kScratch]);
    share_ranked(plan.items, 1, threads, [&](Index begin, Index end, int rank) {
      kernels.run(plan, args, memory + rank * scratch, begin, end);
    });
  }
};

struct PooledConvolution {
  const kernels::Kernels& kernels;
  ConvPlan plan;
  kernels::PoolShape pool;
  Arguments arguments;
  int threads;
  Index items;
  Index scratch;  ///< floats between the threads' parts

  void operator()(void* const* operand) const {
    constexpr Index kRows = 4;  // fewer are not worth making rows of the convolution twice
    const kernels::ConvArgs args = arguments.at(operand);
    auto* const memory = static_cast<float*>(operand[Arguments::kScratch]);
    share_ranked(items, kRows, threads, [&](Index begin, Index end, int rank) {
      kernels.few_channels_pooled(plan, args, pool, memory + rank * scratch, begin, end);
    });
  }
};

std::string_view method_name(kernels::ConvMethod method) {
  switch (method) {
    case kernels::ConvMethod::depthwise:
      return "depthwise ";
    case kernels::ConvMethod::few_channels:
      return "few_channels ";
    default:
      return "dense ";
  }
}

/// Floats per image.
Index floats(const Builder& builder, ValueId id, Layout layout) {
  const auto& value = builder.value(id);
  return static_cast<Index>(bytes_in(value, layout) / sizeof(float)) / std::max<Index>(1, value.shape[0]);
}

std::size_t bytes_of(Index floats) { return static_cast<std::size_t>(floats) * sizeof(float); }

constexpr Index kLine = 64 / sizeof(float);  ///< floats of a cache line: no two threads write to one

/// True where our kernels can read the operands, of which they pack some, and have the activation.
bool takes(const Builder& builder, const ConvolutionParts& parts) {
  if (float_kernels().block != block_size() || builder.value(parts.y).shape.size() != 4) return false;
  for (const ValueId packed : {parts.w, parts.bias, parts.slopes}) {
    if (packed != kNone && builder.value(packed).role != program::Role::constant) return false;
  }
  return kernel_activation(parts.convolution.activation).has_value();
}

kernels::ConvShape shape_of(const Builder& builder, const ConvolutionParts& parts) {
  return conv_shape_of(builder, parts.x, parts.w, parts.convolution.window, parts.convolution.groups);
}

/// Adds the operation of the kernel that `make` gives for its arguments. The source is read in layout `from`;
/// `parts.y` is written, or `pooled` in its place.
template <typename Make>
void emit_native(Builder& builder, const ConvolutionParts& parts, Layout from, Place weights, Place scratch,
                 const std::string& name, const Make& make, ValueId pooled = kNone) {
  const ValueId to = pooled == kNone ? parts.y : pooled;
  Arguments arguments{{}, parts.bias != kNone, parts.residual != kNone, parts.slopes != kNone};
  arguments.fixed.src_image = floats(builder, parts.x, from);
  arguments.fixed.dst_image = arguments.fixed.residual_image = floats(builder, to, Layout::blocked);
  arguments.fixed.residual_last = parts.convolution.residual_last;
  arguments.fixed.activation = *kernel_activation(parts.convolution.activation);
  const std::int64_t filters = builder.value(parts.w).shape[0];
  std::vector<Place> operands{builder.read(parts.x, from), weights, {}, scratch};
  if (arguments.bias) operands.push_back(pack_vector(builder, parts.bias, filters));
  if (arguments.residual) operands.push_back(builder.read(parts.residual, Layout::blocked));
  if (arguments.slopes) operands.push_back(pack_vector(builder, parts.slopes, filters));
  operands[2] = builder.write(to, Layout::blocked);
  const std::size_t count = operands.size();
  builder.emit(make_native(name, count, make(arguments)), std::move(operands), Layout::blocked);
}

/// The step that takes maxima of `id` over windows, where nothing else reads it and we can run it; else null.
const program::Step* only_pool_of(const Builder& builder, ValueId id) {
  const program::Program& program = builder.program();
  const program::Step* const found = builder.only_reader(id);
  if (found == nullptr || !is_plain_pool(program, *found)) return nullptr;
  const auto& pool = std::get<program::Pool>(found->operation);
  const program::Window& window = pool.window;
  const bool dense = window.dilations == std::vector<std::int64_t>{1, 1};
  const bool runs = pool.function == program::PoolFunction::max && dense &&
                    window.kernel[0] <= kernels::kPooledRows &&
                    builder.layout(found->outputs[0]) == Layout::blocked;
  return runs ? found : nullptr;
}

}  // namespace

kernels::ConvShape conv_shape_of(const Builder& builder, ValueId x, ValueId w, const program::Window& window,
                                 std::int64_t groups) {
  const core::Shape& image = builder.value(x).shape;
  const core::Shape& filters = builder.value(w).shape;
  return {.n = image[0],
          .c = image[1],
          .h = image[2],
          .w = image[3],
          .k = filters[0],
          .kh = filters[2],
          .kw = filters[3],
          .sh = window.strides[0],
          .sw = window.strides[1],
          .dh = window.dilations[0],
          .dw = window.dilations[1],
          .top = window.pads_begin[0],
          .left = window.pads_begin[1],
          .bottom = window.pads_end[0],
          .right = window.pads_end[1],
          .groups = groups};
}

kernels::PoolShape pool_shape_of(const Builder& builder, const program::Step& step,
                                 const program::Window& window) {
  const core::Shape& x = builder.value(step.inputs[0]).shape;
  const core::Shape& y = builder.value(step.outputs[0]).shape;
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
    default:
      return std::nullopt;
  }
}

const kernels::Kernels& float_kernels() {
  // oneDNN may be capped where our own choice is not: both must mean the same blocks
  const kernels::Kernels& chosen = kernels::kernels();
  if (chosen.block == block_size()) return chosen;
  return kernels::kernels(core::Isa::avx2);
}

bool build_native_convolution(Builder& builder, const ConvolutionParts& parts, kernels::ConvMethod method) {
  const kernels::Kernels& own = float_kernels();
  if (!takes(builder, parts)) return false;
  kernels::ConvShape shape = shape_of(builder, parts);
  // padding lanes are zeros: a last block that is not full may be taken as if it were
  if (method == kernels::ConvMethod::dense && shape.groups == 1) {
    shape.c = kernels::divide(shape.c, own.block) * own.block;
  }
  ConvPlan plan;
  try {
    plan = own.plan(shape, method);
  } catch (const core::Error&) {
    return false;  // not a shape for this method
  }
  const Layout from = method == kernels::ConvMethod::few_channels ? Layout::plain : Layout::blocked;
  const auto packer = std::make_shared<FilterPacker>(own, plan, builder.value(parts.w).shape[1]);
  emit_native(
      builder, parts, from, builder.pack(parts.w, bytes_of(plan.weights), packer), builder.scratch(0),
      std::string(method_name(method)) + std::string(core::isa_name(own.isa)),
      [&](const Arguments& arguments) { return NativeConvolution{own, plan, arguments, builder.threads()}; });
  return true;
}

bool build_pooled_convolution(Builder& builder, const ConvolutionParts& parts) {
  const core::Shape& x = builder.value(parts.x).shape;
  if (x.size() != 4 || x[1] > 4 || builder.layout(parts.x) != Layout::plain || parts.residual != kNone)
    return false;
  if (!takes(builder, parts)) return false;
  const program::Step* step = only_pool_of(builder, parts.y);
  if (step == nullptr) return false;
  const kernels::Kernels& own = float_kernels();
  ConvPlan plan;
  try {
    plan = own.plan(shape_of(builder, parts), kernels::ConvMethod::few_channels);
  } catch (const core::Error&) {
    return false;  // not a shape for this method
  }
  const kernels::PoolShape pool =
      pool_shape_of(builder, *step, std::get<program::Pool>(step->operation).window);
  const int threads = builder.threads();
  const Index groups = kernels::divide(kernels::divide(plan.shape.k, own.block), plan.blocks);
  const Index scratch = kernels::divide(plan.blocks * pool.kh * pool.w * own.block, kLine) * kLine;
  const auto packer = std::make_shared<FilterPacker>(own, plan, x[1]);
  builder.absorb(*step);
  emit_native(
      builder, parts, Layout::plain, builder.pack(parts.w, bytes_of(plan.weights), packer),
      builder.scratch(bytes_of(scratch * threads)),
      "few_channels with max " + std::string(core::isa_name(own.isa)),
      [&](const Arguments& arguments) {
        return PooledConvolution{own, plan, pool, arguments, threads, pool.n * groups * pool.oh, scratch};
      },
      step->outputs[0]);
  return true;
}

bool build_winograd(Builder& builder, const ConvolutionParts& parts) {
  if (!takes(builder, parts)) return false;
  const kernels::ConvShape shape = shape_of(builder, parts);
  const Index tile = kernels::winograd_pays(shape);
  if (tile == 0) return false;
  const core::Isa isa = float_kernels().isa;
  const kernels::Winograd& own = kernels::winograd(isa);
  const int threads = builder.threads();
  const kernels::WinogradPlan plan = kernels::plan_winograd(shape, tile, isa, threads);
  const Index scratch = kernels::divide(plan.scratch, kLine) * kLine;
  const auto packer = std::make_shared<WinogradPacker>(own, plan, threads);
  const std::string size = std::to_string(tile);
  emit_native(builder, parts, Layout::blocked, builder.pack(parts.w, bytes_of(plan.weights), packer),
              builder.scratch(bytes_of(scratch * threads)),
              "winograd " + size + "x" + size + " " + std::string(core::isa_name(isa)),
              [&](const Arguments& arguments) {
                return WinogradConvolution{own, plan, arguments, threads, scratch};
              });
  return true;
}

}  // namespace rdquant::runtime::native
