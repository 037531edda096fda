#include "runtime/native/float32/transposed.hpp"

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>

#include "runtime/native/loops.hpp"
#include "runtime/native/rules.hpp"

namespace rdquant::runtime::native {

using core::Shape;
using kernels::ConvShape;
using kernels::Index;
using program::kNone;
using program::Step;
using program::ValueId;

namespace {

/// Phase `p`: outputs o with (o + pad) mod stride = p.
AxisPhase phase_of(const AxisSizes& s, Index p) {
  AxisPhase phase;
  phase.first = ((p - s.pad) % s.stride + s.stride) % s.stride;
  phase.count = phase.first < s.out ? (s.out - 1 - phase.first) / s.stride + 1 : 0;
  for (Index t = s.kernel; t-- > 0;) {
    if (t * s.dilation % s.stride == p) phase.taps.push_back(t);
  }
  if (phase.count == 0 || phase.taps.empty()) return phase;
  phase.dilation = s.dilation / std::gcd(s.dilation, s.stride);
  // output `first` meets the input at `start` under the last tap of `taps`, which is the first of the kernel's
  const Index start = (phase.first + s.pad - p) / s.stride - (phase.taps.back() * s.dilation - p) / s.stride;
  const Index reach = (static_cast<Index>(phase.taps.size()) - 1) * phase.dilation;
  phase.before = std::max<Index>(0, reach - start);
  phase.skip = std::max<Index>(0, start - reach);
  phase.after = std::max<Index>(0, phase.count - 1 + start - (s.in - 1));
  return phase;
}

/// The weights of one phase.
std::vector<float> taps_of(const ConvShape& whole, const Phase& phase, const float* w) {
  const Index c = whole.c / whole.groups, k = whole.k / whole.groups;
  std::vector<float> filters;
  for (Index filter = 0; filter < whole.k; ++filter) {
    for (Index channel = 0; channel < c; ++channel) {
      const float* const kernel = w + ((filter / k * c + channel) * k + filter % k) * whole.kh * whole.kw;
      for (const Index y : phase.rows.taps) {
        for (const Index x : phase.columns.taps) filters.push_back(kernel[y * whole.kw + x]);
      }
    }
  }
  return filters;
}

class PhasePacker final : public Packer {
 public:
  PhasePacker(Phases phases, int threads) : phases_(std::move(phases)), threads_(threads) {}
  void pack(const void* from, void* to) const override {
    phases_.pack(static_cast<const float*>(from), static_cast<float*>(to), threads_);
  }

 private:
  Phases phases_;
  int threads_;
};

/// Operands: x in blocks, packed weights, y in blocks, scratch, bias where given.
struct TransposedWork {
  Phases phases;
  kernels::Activation activation;
  bool bias;
  int threads;

  void operator()(void* const* operand) const {
    phases.run(static_cast<const float*>(operand[0]), static_cast<const float*>(operand[1]),
               bias ? static_cast<const float*>(operand[4]) : nullptr, activation,
               static_cast<float*>(operand[2]), static_cast<float*>(operand[3]), threads);
  }
};

}  // namespace

std::vector<AxisPhase> phases_of(const AxisSizes& sizes) {
  std::vector<AxisPhase> phases;
  for (Index p = 0; p < sizes.stride; ++p) {
    AxisPhase phase = phase_of(sizes, p);
    if (phase.count > 0) phases.push_back(std::move(phase));
  }
  return phases;
}

void fill_untouched(const float* bias, const kernels::Activation& activation, Index k, float* values) {
  const Index padded = kernels::divide(k, block_size()) * block_size();
  std::fill_n(values, padded, 0.0F);
  float_kernels().unary(activation, bias != nullptr ? bias : values, values, 0, k);
}

Index Phases::scratch() const {
  Index most = 1;
  for (const Phase& phase : all) {
    const Index pixels = phase.plan ? phase.plan->shape.oh() * phase.plan->shape.ow() : 1;
    most = std::max(most, whole.n * kernels::divide(whole.k, block_size()) * block_size() * pixels);
  }
  return most;
}

void Phases::pack(const float* w, float* packed, int threads) const {
  for (const Phase& phase : all) {
    if (!phase.plan) continue;
    const std::vector<float> filters = taps_of(whole, phase, w);
    FilterPacker(float_kernels(), *phase.plan, whole.c / whole.groups, threads)
        .pack(filters.data(), packed + phase.weights);
  }
}

void Phases::run(const float* x, const float* packed, const float* bias,
                 const kernels::Activation& activation, float* y, float* scratch, int threads) const {
  const kernels::Kernels& own = float_kernels();
  const Index block = own.block, blocks = kernels::divide(whole.k, block);
  for (const Phase& phase : all) {
    const Index rows = phase.plan ? phase.plan->shape.oh() : 0,
                columns = phase.plan ? phase.plan->shape.ow() : 0;
    if (phase.plan) {
      kernels::ConvArgs args;
      args.src = x;
      args.src_image = kernels::divide(whole.c, block) * block * whole.h * whole.w;
      args.weights = packed + phase.weights;
      args.bias = bias;
      args.dst = scratch;
      args.dst_image = blocks * rows * columns * block;
      args.activation = activation;
      share(phase.plan->items, 1, threads,
            [&](Index begin, Index end) { own.convolve(*phase.plan, args, begin, end); });
    } else {
      fill_untouched(bias, activation, whole.k, scratch);
    }
    share(whole.n * blocks * phase.rows.count, 4, threads, [&](Index begin, Index end) {
      for (Index item = begin; item < end; ++item) {
        const Index row = item % phase.rows.count, plane = item / phase.rows.count;
        const Index to = (plane * oh + phase.rows.first + row * whole.sh) * ow + phase.columns.first;
        const float* from = scratch + plane % blocks * block;  // the same for all pixels
        if (phase.plan)
          from = scratch + ((plane * rows + row + phase.rows.skip) * columns + phase.columns.skip) * block;
        own.copy_rows(from, phase.plan ? block : 0, y + to * block, whole.sw * block, block, 0,
                      phase.columns.count);
      }
    });
  }
}

std::optional<Phases> decompose(const ConvShape& whole, Index oh, Index ow) {
  const auto rows = phases_of({whole.h, oh, whole.kh, whole.sh, whole.dh, whole.top});
  const auto columns = phases_of({whole.w, ow, whole.kw, whole.sw, whole.dw, whole.left});
  const bool depthwise = whole.groups == whole.c && whole.k == whole.c && whole.c > 1;
  Phases phases{whole, oh, ow, {}, 0};
  for (const AxisPhase& y : rows) {
    for (const AxisPhase& x : columns) {
      phases.all.push_back({y, x, std::nullopt, phases.weights});
      if (y.taps.empty() || x.taps.empty()) continue;
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
      phases.all.back().plan = plan;
      phases.weights += plan->weights;
    }
  }
  return phases;
}

bool build_transposed_convolution(Builder& builder, const Step& step) {
  if (build_transposed_volume(builder, step)) return true;
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
  const auto phases = decompose(whole, result[2], result[3]);
  if (!phases) return false;
  const int threads = builder.threads();
  std::vector<Place> operands{
      builder.read_as(x, image, Layout::blocked),
      builder.packed(w, bytes_of(phases->weights), std::make_shared<PhasePacker>(*phases, threads)),
      {},
      builder.scratch(bytes_of(phases->scratch()))};
  if (bias != kNone) operands.push_back(pack_vector(builder, bias, whole.k));
  operands[2] = builder.write_as(y, result, Layout::blocked);
  const std::size_t count = operands.size();
  builder.emit(
      make_native(with_isa("phases"), count, TransposedWork{*phases, *activation, bias != kNone, threads}),
      std::move(operands), Layout::blocked);
  return true;
}

}  // namespace rdquant::runtime::native
