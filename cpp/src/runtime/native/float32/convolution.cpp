#include "runtime/native/float32/convolution.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "rdquant/core/error.hpp"
#include "runtime/kernels/float32/winograd/winograd.hpp"
#include "runtime/native/loops.hpp"
#include "runtime/native/rules.hpp"

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
  if (builder.value(parts.y).shape.size() != 4) return false;
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

/// The step of maxima that can be taken together with a first convolution; null where there is none.
const program::Step* pooled_step(const Builder& builder, const ConvolutionParts& parts) {
  const core::Shape& x = builder.value(parts.x).shape;
  if (x[1] > 4 || builder.layout(parts.x) != Layout::plain || parts.residual != kNone) return nullptr;
  return only_pool_of(builder, parts.y);
}

/// Lowers to a kernel of ours; false, and nothing added, where the method does not run this shape.
bool build_direct(Builder& builder, const ConvolutionParts& parts, kernels::ConvMethod method) {
  const kernels::Kernels& own = float_kernels();
  kernels::ConvShape shape = shape_of(builder, parts);
  // padding lanes are zeros: a last block that is not full may be taken as if it were
  if (method == kernels::ConvMethod::dense && shape.groups == 1) {
    shape.c = kernels::divide(shape.c, own.block) * own.block;
  }
  const std::optional<ConvPlan> found = own.plan(shape, method);
  if (!found) return false;
  const ConvPlan& plan = *found;
  const Layout from = method == kernels::ConvMethod::few_channels ? Layout::plain : Layout::blocked;
  const auto packer = std::make_shared<FilterPacker>(own, plan, builder.value(parts.w).shape[1]);
  emit_native(
      builder, parts, from, builder.pack(parts.w, bytes_of(plan.weights), packer), builder.scratch(0),
      std::string(method_name(method)) + std::string(core::isa_name(own.isa)),
      [&](const Arguments& arguments) { return NativeConvolution{own, plan, arguments, builder.threads()}; });
  return true;
}

/// Lowers a first convolution together with the maxima that are all that reads it; false, and nothing added,
/// where there is no such pair.
bool build_pooled(Builder& builder, const ConvolutionParts& parts) {
  const program::Step* step = pooled_step(builder, parts);
  if (step == nullptr) return false;
  const kernels::Kernels& own = float_kernels();
  const std::optional<ConvPlan> found = own.plan(shape_of(builder, parts), kernels::ConvMethod::few_channels);
  if (!found) return false;
  const ConvPlan& plan = *found;
  const kernels::PoolShape pool =
      pool_shape_of(builder, *step, std::get<program::Pool>(step->operation).window);
  const int threads = builder.threads();
  const Index groups = kernels::divide(kernels::divide(plan.shape.k, own.block), plan.blocks);
  const Index scratch = kernels::divide(plan.blocks * pool.kh * pool.w * own.block, kLine) * kLine;
  const auto packer = std::make_shared<FilterPacker>(own, plan, plan.shape.c);
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

/// Lowers to Winograd's algorithm where that pays; false, and nothing added, where not.
bool build_winograd(Builder& builder, const ConvolutionParts& parts) {
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

kernels::ConvMethod method_of(const Builder& builder, const ConvolutionParts& parts) {
  const std::int64_t channels = builder.value(parts.x).shape[1];
  if (parts.convolution.groups > 1 && parts.convolution.groups == channels)
    return kernels::ConvMethod::depthwise;
  return channels <= 4 && builder.layout(parts.x) == Layout::plain ? kernels::ConvMethod::few_channels
                                                                   : kernels::ConvMethod::dense;
}

bool all_float_constants(const Builder& builder, const ConvolutionParts& parts) {
  for (const ValueId id : {parts.x, parts.w, parts.bias, parts.residual, parts.slopes}) {
    if (id != kNone && builder.value(id).dtype != core::DType::f32) return false;
  }
  // filters are packed when a program is prepared
  return builder.value(parts.w).role == program::Role::constant && builder.value(parts.y).shape.size() == 4;
}

}  // namespace

ConvolutionParts take_apart(const Builder& builder, const program::Step& step) {
  const ValueId residual = program::input(step, 3);
  return {std::get<program::Convolution>(step.operation),
          step.inputs[0],
          step.inputs[1],
          program::input(step, 2),
          residual,
          program::input(step, 4),
          step.outputs[0],
          residual != kNone && builder.placement().same_spot(residual, step.outputs[0])};
}

/// Where they were measured to be: depthwise, Winograd, a first layer with its maxima, and with AVX-512
/// products per pixel whose results go through an exponential, which costs oneDNN more than us.
bool native_convolution_is_better(const Builder& builder, const program::Step& step) {
  const ConvolutionParts parts = take_apart(builder, step);
  if (!all_float_constants(builder, parts) || !takes(builder, parts)) return false;
  const kernels::ConvMethod method = method_of(builder, parts);
  if (method == kernels::ConvMethod::depthwise || pooled_step(builder, parts) != nullptr ||
      kernels::winograd_pays(shape_of(builder, parts)) != 0) {
    return true;
  }
  const core::Shape& w = builder.value(parts.w).shape;
  const program::Function f = parts.convolution.activation.function;
  const bool exponential = f == program::Function::silu || f == program::Function::sigmoid;
  return float_kernels().isa == core::Isa::avx512 && method == kernels::ConvMethod::dense &&
         parts.convolution.groups == 1 && w[2] == 1 && w[3] == 1 && exponential;
}

bool build_convolution(Builder& builder, const program::Step& step) {
  if (!std::holds_alternative<program::Convolution>(step.operation)) return false;
  const ConvolutionParts parts = take_apart(builder, step);
  if (!all_float_constants(builder, parts) || !takes(builder, parts)) return false;
  return build_pooled(builder, parts) || build_winograd(builder, parts) ||
         build_direct(builder, parts, method_of(builder, parts));
}

}  // namespace rdquant::runtime::native
