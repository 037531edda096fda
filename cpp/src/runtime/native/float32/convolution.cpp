#include "runtime/native/float32/convolution.hpp"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "runtime/native/few_filters/few_filters.hpp"
#include "runtime/native/float32/packing.hpp"
#include "runtime/native/loops.hpp"
#include "runtime/native/movement/channels.hpp"
#include "runtime/native/rules.hpp"

namespace rdquant::runtime::native {
namespace {

using kernels::ConvPlan;
using kernels::Index;
using program::kNone;
using program::ValueId;

/// Arguments of every convolution kernel: operands src, weights, dst, scratch (null where it needs
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

/// Floats per image of a value taken as images.
Index floats(const Builder& builder, ValueId id, Layout layout) {
  const core::Shape shape = as_image(builder.value(id).shape);
  return elements_in(shape, layout) / std::max<Index>(1, shape[0]);
}

/// True where our kernels can read the operands and have the activation.
bool takes(const Builder& builder, const ConvolutionParts& parts) {
  const core::Shape& y = builder.value(parts.y).shape;
  for (const ValueId id : {parts.x, parts.w, parts.bias, parts.residual, parts.slopes}) {
    if (id != kNone && builder.value(id).dtype != core::DType::f32) return false;
  }
  return (y.size() == 3 || y.size() == 4) && core::element_count(y) > 0 &&
         core::element_count(builder.value(parts.x).shape) > 0 &&
         kernel_activation(parts.convolution.activation).has_value();
}

kernels::ConvShape shape_of(const Builder& builder, const ConvolutionParts& parts) {
  return conv_shape_of(builder, parts.x, parts.w, parts.convolution.window, parts.convolution.groups);
}

/// Adds the operation of the kernel that `make` gives for its arguments. The source is read in layout `from`;
/// `parts.y` is written, or `pooled` in its place. `source`: where the source lies, if not as the value says.
template <typename Make>
void emit_native(Builder& builder, const ConvolutionParts& parts, Layout from, Place weights, Place scratch,
                 const std::string& name, const Make& make, ValueId pooled = kNone,
                 std::optional<Place> source = std::nullopt) {
  const ValueId to = pooled == kNone ? parts.y : pooled;
  Arguments arguments{{}, parts.bias != kNone, parts.residual != kNone, parts.slopes != kNone};
  arguments.fixed.src_image = floats(builder, parts.x, from);
  arguments.fixed.dst_image = arguments.fixed.residual_image = floats(builder, to, Layout::blocked);
  arguments.fixed.residual_last = parts.convolution.residual_last;
  arguments.fixed.activation = *kernel_activation(parts.convolution.activation);
  const std::int64_t filters = builder.value(parts.w).shape[0];
  const auto read = [&](ValueId id, Layout layout) {
    return builder.read_as(id, as_image(builder.value(id).shape), layout);
  };
  std::vector<Place> operands{source ? *source : read(parts.x, from), weights, {}, scratch};
  if (arguments.bias) operands.push_back(pack_vector(builder, parts.bias, filters));
  if (arguments.residual) operands.push_back(read(parts.residual, Layout::blocked));
  if (arguments.slopes) operands.push_back(pack_vector(builder, parts.slopes, filters));
  operands[2] = builder.write_as(to, as_image(builder.value(to).shape), Layout::blocked);
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
  const kernels::ConvShape shape = shape_of(builder, parts);
  const auto plan = plan_of(shape, method);
  if (!plan) return false;
  const Layout from = method == kernels::ConvMethod::few_channels ? Layout::plain : Layout::blocked;
  const int threads = builder.threads();
  const auto packer = std::make_shared<FilterPacker>(own, *plan, builder.value(parts.w).shape[1], threads);
  const Place weights = builder.packed(parts.w, bytes_of(plan->weights), packer);
  emit_native(builder, parts, from, weights, builder.scratch(0),
              std::string(method_name(method)) + std::string(core::isa_name(own.isa)),
              [&](const Arguments& arguments) { return NativeConvolution{own, *plan, arguments, threads}; });
  return true;
}

/// Several filters for each channel: a depthwise convolution of repeated channels.
bool build_multiplied(Builder& builder, const ConvolutionParts& parts) {
  kernels::ConvShape shape = shape_of(builder, parts);
  if (shape.groups == 1 || shape.groups != shape.c || shape.k == shape.c) return false;
  const int threads = builder.threads();
  std::vector<Origin> repeated_channels;
  for (Index k = 0; k < shape.k; ++k) repeated_channels.push_back({0, k / (shape.k / shape.c)});
  auto repeat = make_channels("repeat", shape.n, shape.h * shape.w, {shape.c}, repeated_channels, threads);
  shape.c = shape.groups = shape.k;
  const auto plan = plan_of(shape, kernels::ConvMethod::depthwise);
  if (!plan) return false;
  const Index image = kernels::divide(shape.c, block_size()) * block_size() * shape.h * shape.w;
  const Place source = builder.read_as(parts.x, as_image(builder.value(parts.x).shape), Layout::blocked);
  const Place repeated = builder.scratch(bytes_of(shape.n * image));
  builder.prepare(std::move(repeat), {source, repeated});
  const kernels::Kernels& own = float_kernels();
  const auto packer = std::make_shared<FilterPacker>(own, *plan, 1, threads);
  const Place weights = builder.packed(parts.w, bytes_of(plan->weights), packer);
  emit_native(
      builder, parts, Layout::blocked, weights, builder.scratch(0),
      "depthwise " + std::string(core::isa_name(own.isa)),
      [&](Arguments arguments) {
        arguments.fixed.src_image = image;
        return NativeConvolution{own, *plan, arguments, threads};
      },
      kNone, repeated);
  return true;
}

/// Lowers a first convolution together with the maxima that are all that reads it; false, and nothing added,
/// where there is no such pair.
bool build_pooled(Builder& builder, const ConvolutionParts& parts) {
  const program::Step* step = pooled_step(builder, parts);
  if (step == nullptr) return false;
  const kernels::Kernels& own = float_kernels();
  const auto planned = plan_of(shape_of(builder, parts), kernels::ConvMethod::few_channels);
  if (!planned) return false;
  const ConvPlan plan = *planned;
  const kernels::PoolShape pool =
      pool_shape_of(builder, *step, std::get<program::Pool>(step->operation).window);
  const int threads = builder.threads();
  const Index groups = kernels::divide(kernels::divide(plan.shape.k, own.block), plan.blocks);
  const Index scratch = kernels::divide(plan.blocks * pool.kh * pool.w * own.block, kLine) * kLine;
  const auto packer = std::make_shared<FilterPacker>(own, plan, plan.shape.c, threads);
  builder.absorb(*step);
  emit_native(
      builder, parts, Layout::plain, builder.packed(parts.w, bytes_of(plan.weights), packer),
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
  // transforming the weights in every run would cost what it saves
  if (builder.value(parts.w).role != program::Role::constant) return false;
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

/// Where they were measured to be: every shape with AVX-512 (0.28 to 1.1 of oneDNN's time); with AVX2 and less
/// depthwise, Winograd, and a first layer with its maxima, but not other dense ones (1.1). Over three axes every shape
/// with AVX-512, grouped ones with AVX2, too (0.01 to 0.7 of oneDNN's time); those of few filters with either (0.1).
bool native_convolution_is_better(const Builder& builder, const program::Step& step) {
  const ConvolutionParts parts = take_apart(builder, step);
  if (builder.value(parts.w).role != program::Role::constant) return false;
  const core::Isa isa = float_kernels().isa;
  const bool wide = isa == core::Isa::avx512, grouped = parts.convolution.groups > 1;
  const bool few =
      isa == core::Isa::avx2 && builder.value(parts.w).shape.size() > 3 && few_filters_pay(builder, parts);
  if (!takes(builder, parts))
    return builder.value(parts.w).shape.size() == 5 && (wide || few || (grouped && isa == core::Isa::avx2));
  return wide || few || method_of(builder, parts) == kernels::ConvMethod::depthwise ||
         pooled_step(builder, parts) != nullptr || kernels::winograd_pays(shape_of(builder, parts)) != 0;
}

bool build_convolution(Builder& builder, const program::Step& step) {
  if (!std::holds_alternative<program::Convolution>(step.operation)) return false;
  const ConvolutionParts parts = take_apart(builder, step);
  if (!takes(builder, parts)) return build_volume_convolution(builder, step);
  return build_pooled(builder, parts) || build_few_filters(builder, parts) ||
         build_winograd(builder, parts) || build_multiplied(builder, parts) ||
         build_direct(builder, parts, method_of(builder, parts)) ||
         build_direct(builder, parts, kernels::ConvMethod::dense);
}

}  // namespace rdquant::runtime::native
