// Transposed convolutions by phases: outputs whose places leave the same rest when divided by the stride are a
// convolution of stride 1 with those taps that meet them.
#include <algorithm>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "runtime/native/float32/packing.hpp"
#include "runtime/native/loops.hpp"
#include "runtime/native/rules.hpp"

namespace rdquant::runtime::native {
namespace {

using core::Shape;
using kernels::ConvPlan;
using kernels::ConvShape;
using kernels::Index;
using program::kNone;
using program::Step;
using program::ValueId;

/// Along one axis: outputs first, first + stride, … (`count` of them) are a convolution with `taps`, in the order
/// of that convolution.
struct AxisPhase {
  Index first = 0, count = 0, dilation = 1, before = 0, after = 0;
  std::vector<Index> taps;
};

/// Sizes along one axis.
struct AxisSizes {
  Index in, out, kernel, stride, dilation, pad;
};

/// Phase `p`: outputs o with (o + pad) mod stride = p; nullopt where a padding would have to be negative, or an
/// output meets no tap.
std::optional<AxisPhase> phase_of(const AxisSizes& s, Index p) {
  AxisPhase phase;
  phase.first = ((p - s.pad) % s.stride + s.stride) % s.stride;
  phase.count = phase.first < s.out ? (s.out - 1 - phase.first) / s.stride + 1 : 0;
  if (phase.count == 0) return phase;
  for (Index t = s.kernel; t-- > 0;) {
    if (t * s.dilation % s.stride == p) phase.taps.push_back(t);
  }
  if (phase.taps.empty()) return std::nullopt;
  phase.dilation = s.dilation / std::gcd(s.dilation, s.stride);
  // output `first` meets the input at `start` under the last tap of `taps`, which is the first of the kernel's
  const Index start = (phase.first + s.pad - p) / s.stride - (phase.taps.back() * s.dilation - p) / s.stride;
  const Index reach = (static_cast<Index>(phase.taps.size()) - 1) * phase.dilation;
  phase.before = reach - start;
  phase.after = std::max<Index>(0, phase.count - 1 + start - (s.in - 1));
  if (phase.before < 0) return std::nullopt;
  return phase;
}

std::optional<std::vector<AxisPhase>> phases_of(const AxisSizes& sizes) {
  std::vector<AxisPhase> phases;
  for (Index p = 0; p < sizes.stride; ++p) {
    auto phase = phase_of(sizes, p);
    if (!phase) return std::nullopt;
    if (phase->count > 0) phases.push_back(std::move(*phase));
  }
  return phases;
}

/// One convolution of the decomposition.
struct Phase {
  AxisPhase rows, columns;
  ConvPlan plan;
  Index weights = 0;  ///< where its packed weights begin, floats
};

/// Weights [c][k/groups][kh][kw] for the plans of all phases.
class PhasePacker final : public Packer {
 public:
  PhasePacker(std::vector<Phase> phases, ConvShape whole, int threads)
      : phases_(std::move(phases)), whole_(whole), threads_(threads) {}
  void pack(const void* from, void* to) const override {
    const auto* const w = static_cast<const float*>(from);
    for (const Phase& phase : phases_) {
      const std::vector<float> filters = taps_of(phase, w);
      FilterPacker(float_kernels(), phase.plan, whole_.c / whole_.groups, threads_)
          .pack(filters.data(), static_cast<float*>(to) + phase.weights);
    }
  }

 private:
  [[nodiscard]] std::vector<float> taps_of(const Phase& phase, const float* w) const {
    const Index c = whole_.c / whole_.groups, k = whole_.k / whole_.groups;
    std::vector<float> filters;
    for (Index filter = 0; filter < whole_.k; ++filter) {
      for (Index channel = 0; channel < c; ++channel) {
        const float* const kernel = w + ((filter / k * c + channel) * k + filter % k) * whole_.kh * whole_.kw;
        for (const Index y : phase.rows.taps) {
          for (const Index x : phase.columns.taps) filters.push_back(kernel[y * whole_.kw + x]);
        }
      }
    }
    return filters;
  }

  std::vector<Phase> phases_;
  ConvShape whole_;  ///< sizes of the input and of the kernel
  int threads_;
};

/// Operands: x in blocks, packed weights, y in blocks, scratch, bias where given.
struct TransposedWork {
  std::vector<Phase> phases;
  ConvShape whole;
  Index oh, ow, stride_y, stride_x;
  kernels::Activation activation;
  bool bias;
  int threads;

  void operator()(void* const* operand) const {
    const kernels::Kernels& own = float_kernels();
    const Index block = own.block, blocks = kernels::divide(whole.k, block);
    auto* const memory = static_cast<float*>(operand[3]);
    auto* const y = static_cast<float*>(operand[2]);
    for (const Phase& phase : phases) {
      const Index rows = phase.plan.shape.oh(), columns = phase.plan.shape.ow();
      kernels::ConvArgs args;
      args.src = static_cast<const float*>(operand[0]);
      args.src_image = kernels::divide(whole.c, block) * block * whole.h * whole.w;
      args.weights = static_cast<const float*>(operand[1]) + phase.weights;
      args.bias = bias ? static_cast<const float*>(operand[4]) : nullptr;
      args.dst = memory;
      args.dst_image = blocks * rows * columns * block;
      args.activation = activation;
      share(phase.plan.items, 1, threads,
            [&](Index begin, Index end) { own.convolve(phase.plan, args, begin, end); });
      share(whole.n * blocks * phase.rows.count, 4, threads, [&](Index begin, Index end) {
        for (Index item = begin; item < end; ++item) {
          const Index row = item % phase.rows.count, plane = item / phase.rows.count;
          const Index to = (plane * oh + phase.rows.first + row * stride_y) * ow + phase.columns.first;
          own.copy_rows(memory + (plane * rows + row) * columns * block, block, y + to * block,
                        stride_x * block, block, 0, phase.columns.count);
        }
      });
    }
  }
};

/// The phases of a step, their plans and where their weights lie; nullopt where there is no decomposition.
std::optional<std::vector<Phase>> decompose(const ConvShape& whole, const Shape& result) {
  const auto rows = phases_of({whole.h, result[2], whole.kh, whole.sh, whole.dh, whole.top});
  const auto columns = phases_of({whole.w, result[3], whole.kw, whole.sw, whole.dw, whole.left});
  if (!rows || !columns) return std::nullopt;
  const bool depthwise = whole.groups == whole.c && whole.k == whole.c && whole.c > 1;
  std::vector<Phase> phases;
  Index weights = 0;
  for (const AxisPhase& y : *rows) {
    for (const AxisPhase& x : *columns) {
      ConvShape shape = whole;
      shape.kh = static_cast<Index>(y.taps.size());
      shape.kw = static_cast<Index>(x.taps.size());
      shape.sh = shape.sw = 1;
      shape.dh = y.dilation;
      shape.dw = x.dilation;
      shape.top = y.before;
      shape.bottom = y.after;
      shape.left = x.before;
      shape.right = x.after;
      const auto plan =
          plan_of(shape, depthwise ? kernels::ConvMethod::depthwise : kernels::ConvMethod::dense);
      if (!plan) return std::nullopt;
      phases.push_back({y, x, *plan, weights});
      weights += plan->weights;
    }
  }
  return phases;
}

}  // namespace

bool build_transposed_convolution(Builder& builder, const Step& step) {
  const auto* op = std::get_if<program::TransposedConvolution>(&step.operation);
  if (op == nullptr || !all_float(builder.program(), step)) return false;
  const ValueId x = step.inputs[0], w = step.inputs[1], bias = program::input(step, 2), y = step.outputs[0];
  const auto activation = kernel_activation(op->activation);
  const std::size_t axes = builder.value(x).shape.size();
  if (!activation || op->activation.function == program::Function::prelu || axes < 3 || axes > 4 ||
      core::element_count(builder.value(y).shape) == 0) {
    return false;
  }
  const Shape image = as_image(builder.value(x).shape), result = as_image(builder.value(y).shape);
  ConvShape whole = conv_shape_of(builder, x, w, op->window, op->groups);
  whole.k = result[1];
  const auto phases = decompose(whole, result);
  if (!phases) return false;
  Index weights = 0, scratch = 0;
  for (const Phase& phase : *phases) {
    weights = phase.weights + phase.plan.weights;
    const Index pixels = phase.plan.shape.oh() * phase.plan.shape.ow();
    scratch = std::max(scratch, whole.n * kernels::divide(whole.k, block_size()) * block_size() * pixels);
  }
  const int threads = builder.threads();
  std::vector<Place> operands{
      builder.read_as(x, image, Layout::blocked),
      builder.packed(w, bytes_of(weights), std::make_shared<PhasePacker>(*phases, whole, threads)),
      {},
      builder.scratch(bytes_of(scratch))};
  if (bias != kNone) operands.push_back(pack_vector(builder, bias, whole.k));
  operands[2] = builder.write_as(y, result, Layout::blocked);
  const std::size_t count = operands.size();
  builder.emit(make_native("phases " + std::string(core::isa_name(float_kernels().isa)), count,
                           TransposedWork{*phases, whole, result[2], result[3], whole.sh, whole.sw,
                                          *activation, bias != kNone, threads}),
               std::move(operands), Layout::blocked);
  return true;
}

}  // namespace rdquant::runtime::native
