#include "own_convolution.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "own.hpp"
#include "rdquant/core/error.hpp"

namespace rdquant::runtime::onednn {
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

/// The convolution as a kernel: operands src, weights, dst, then bias, residual and slopes where given.
struct OwnConvolution {
  const kernels::Kernels& kernels;
  ConvPlan plan;
  kernels::ConvArgs fixed;
  bool bias, residual, slopes;
  int threads;

  void operator()(void* const* operand) const {
    kernels::ConvArgs args = fixed;
    args.src = static_cast<const float*>(operand[0]);
    args.weights = static_cast<const float*>(operand[1]);
    args.dst = static_cast<float*>(operand[2]);
    operand += 3;
    if (bias) args.bias = static_cast<const float*>(*operand++);
    if (residual) args.residual = static_cast<const float*>(*operand++);
    if (slopes) args.activation.slopes = static_cast<const float*>(*operand);
    share(plan.items, 1, threads, [&](Index begin, Index end) { kernels.convolve(plan, args, begin, end); });
  }
};

std::string_view method_name(kernels::ConvMethod method) {
  switch (method) {
    case kernels::ConvMethod::depthwise:
      return "depthwise ";
    case kernels::ConvMethod::first:
      return "first ";
    default:
      return "dense ";
  }
}

Index floats(const Builder& builder, ValueId id, Layout layout) {
  const auto& value = builder.value(id);
  return static_cast<Index>(bytes_in(value, layout) / sizeof(float)) / std::max<Index>(1, value.shape[0]);
}

}  // namespace

std::optional<kernels::Activation> own_activation(const program::Activation& activation) {
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

const kernels::Kernels& own_kernels() {
  // oneDNN may be capped where our own choice is not: both must mean the same blocks
  const kernels::Kernels& chosen = kernels::kernels();
  if (chosen.block == block_size()) return chosen;
  return kernels::kernels(core::Isa::avx2);
}

bool build_own_convolution(Builder& builder, const ConvolutionParts& parts, kernels::ConvMethod method) {
  const kernels::Kernels& own = own_kernels();
  const auto activation = own_activation(parts.convolution.activation);
  if (own.block != block_size() || builder.value(parts.y).shape.size() != 4 || !activation) return false;
  for (const program::ValueId packed : {parts.w, parts.bias, parts.slopes}) {
    if (packed != kNone && builder.value(packed).role != program::Role::constant) return false;
  }
  const core::Shape& x = builder.value(parts.x).shape;
  const core::Shape& w = builder.value(parts.w).shape;
  const program::Window& window = parts.convolution.window;
  // padding lanes are zeros: a last block that is not full may be taken as if it were
  const bool widens = method == kernels::ConvMethod::dense && parts.convolution.groups == 1;
  const kernels::ConvShape shape{x[0],
                                 widens ? (x[1] + own.block - 1) / own.block * own.block : x[1],
                                 x[2],
                                 x[3],
                                 w[0],
                                 w[2],
                                 w[3],
                                 window.strides[0],
                                 window.strides[1],
                                 window.dilations[0],
                                 window.dilations[1],
                                 window.pads_begin[0],
                                 window.pads_begin[1],
                                 window.pads_end[0],
                                 window.pads_end[1],
                                 parts.convolution.groups};
  ConvPlan plan;
  try {
    plan = own.plan(shape, method);
  } catch (const core::Error&) {
    return false;  // not a shape for this method
  }
  const Layout from = method == kernels::ConvMethod::first ? Layout::plain : Layout::blocked;
  const Place source = builder.read(parts.x, from);
  const Place weights = builder.pack(parts.w, static_cast<std::size_t>(plan.weights) * sizeof(float),
                                     std::make_shared<FilterPacker>(own, plan, w[1]));
  OwnConvolution work{
      own, plan, {}, parts.bias != kNone, parts.residual != kNone, parts.slopes != kNone, builder.threads()};
  work.fixed.src_image = floats(builder, parts.x, from);
  work.fixed.dst_image = work.fixed.residual_image = floats(builder, parts.y, Layout::blocked);
  work.fixed.residual_last = parts.convolution.residual_last;
  work.fixed.activation = *activation;
  std::vector<Place> operands{source, weights, {}};
  if (work.bias) operands.push_back(pack_vector(builder, parts.bias, w[0]));
  if (work.residual) operands.push_back(builder.read(parts.residual, Layout::blocked));
  if (work.slopes) operands.push_back(pack_vector(builder, parts.slopes, w[0]));
  operands[2] = builder.write(parts.y, Layout::blocked);
  const std::string name = std::string(method_name(method)) + std::string(core::isa_name(own.isa));
  const std::size_t count = operands.size();
  builder.emit(make_own(name, count, work), std::move(operands), Layout::blocked);
  return true;
}

}  // namespace rdquant::runtime::onednn
