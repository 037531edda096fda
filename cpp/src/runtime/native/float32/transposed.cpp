#include "runtime/native/float32/transposed.hpp"

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>

#include "runtime/native/few_filters/few_filters.hpp"
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

constexpr Index kMostLanes = 16;

/// The taps of the phase that has most.
Index joined_taps(Index kernel, Index stride) { return kernels::divide(kernel, stride); }

/// The weights of all phases: filter (p·stride + q)·k + c is that of c in the phase of the rest p of rows and q of
/// columns; zeros where a phase has fewer taps.
std::vector<float> joined_taps_of(const ConvShape& whole, const ConvShape& joined, const float* w) {
  std::vector<float> filters(static_cast<std::size_t>(joined.k * whole.c * joined.kh * joined.kw), 0.0F);
  float* to = filters.data();
  for (Index filter = 0; filter < joined.k; ++filter) {
    const Index row = filter / whole.k / whole.sw, column = filter / whole.k % whole.sw;
    for (Index channel = 0; channel < whole.c; ++channel) {
      const float* const kernel = w + (channel * whole.k + filter % whole.k) * whole.kh * whole.kw;
      for (Index i = joined.kh; i-- > 0;) {
        for (Index j = joined.kw; j-- > 0; ++to) {
          const Index y = i * whole.sh + row, x = j * whole.sw + column;
          if (y < whole.kh && x < whole.kw) *to = kernel[y * whole.kw + x];
        }
      }
    }
  }
  return filters;
}

Index blocks_of(Index channels) { return kernels::divide(channels, block_size()); }

/// Blocks of sums that all phases make.
Index sums_of(const Phases& phases) {
  Index sums = 0;
  for (const Phase& phase : phases.all) {
    const auto taps = static_cast<Index>(phase.rows.taps.size() * phase.columns.taps.size());
    sums += blocks_of(phases.whole.k / phases.whole.groups) * phases.whole.groups * taps * phase.rows.count *
            phase.columns.count;
  }
  return sums;
}

/// All phases together; nullopt where that saves too little, or our kernels lack the convolution.
std::optional<JoinedPhases> join(const Phases& phases) {
  const ConvShape& whole = phases.whole;
  JoinedPhases joined{{}, whole.top / whole.sh, whole.left / whole.sw};
  ConvShape shape = whole;
  shape.k = whole.k * whole.sh * whole.sw;
  shape.kh = joined_taps(whole.kh, whole.sh);
  shape.kw = joined_taps(whole.kw, whole.sw);
  shape.sh = shape.sw = 1;
  shape.top = shape.kh - 1 - joined.top;
  shape.left = shape.kw - 1 - joined.left;
  shape.bottom = std::max<Index>(0, (phases.oh - 1 + whole.top) / whole.sh - (whole.h - 1));
  shape.right = std::max<Index>(0, (phases.ow - 1 + whole.left) / whole.sw - (whole.w - 1));
  if (whole.groups != 1 || whole.dh != 1 || whole.dw != 1 || shape.top < 0 || shape.left < 0)
    return std::nullopt;
  const auto plan = plan_of(shape, kernels::ConvMethod::dense);
  if (!plan) return std::nullopt;
  const Index sums = blocks_of(shape.k) * shape.kh * shape.kw * plan->shape.oh() * plan->shape.ow();
  if (5 * sums > 4 * sums_of(phases)) return std::nullopt;
  joined.plan = *plan;
  return joined;
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
  if (joined) {
    const ConvShape& shape = joined->plan.shape;
    const Index pixels = shape.oh() * shape.ow();
    return blocks_of(shape.k) * block_size() * (whole.n * pixels + 1);  // the image, and its bias
  }
  Index most = 1;
  for (const Phase& phase : all) {
    const Index pixels = phase.plan ? phase.plan->shape.oh() * phase.plan->shape.ow() : 1;
    most = std::max(most, whole.n * kernels::divide(whole.k, block_size()) * block_size() * pixels);
  }
  return most;
}

void Phases::pack(const float* w, float* packed, int threads) const {
  if (joined) {
    const std::vector<float> filters = joined_taps_of(whole, joined->plan.shape, w);
    return FilterPacker(float_kernels(), joined->plan, whole.c, threads).pack(filters.data(), packed);
  }
  for (const Phase& phase : all) {
    if (!phase.plan) continue;
    const std::vector<float> filters = taps_of(whole, phase, w);
    FilterPacker(float_kernels(), *phase.plan, whole.c / whole.groups, threads)
        .pack(filters.data(), packed + phase.weights);
  }
}

void Phases::run(const float* x, const float* packed, const float* bias,
                 const kernels::Activation& activation, float* y, float* scratch, int threads) const {
  if (joined) return run_joined(x, packed, bias, activation, y, scratch, threads);
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

void Phases::run_joined(const float* x, const float* packed, const float* bias,
                        const kernels::Activation& activation, float* y, float* scratch, int threads) const {
  const kernels::ConvPlan& plan = joined->plan;
  const Index block = block_size(), blocks = blocks_of(whole.k), padded = blocks_of(plan.shape.k) * block;
  const Index pixels = plan.shape.oh() * plan.shape.ow();
  float* const image = scratch + padded;
  kernels::ConvArgs args;
  args.src = x;
  args.src_image = blocks_of(whole.c) * block * whole.h * whole.w;
  args.weights = packed;
  if (bias != nullptr) {
    std::fill_n(scratch, padded, 0.0F);
    for (Index i = 0; i < plan.shape.k; ++i) scratch[i] = bias[i % whole.k];
    args.bias = scratch;
  }
  args.dst = image;
  args.dst_image = padded * pixels;
  args.activation = activation;
  share(plan.items, 1, threads,
        [&](Index begin, Index end) { float_kernels().convolve(plan, args, begin, end); });
  for (const Phase& phase : all) {
    share(whole.n * blocks * phase.rows.count, 4, threads, [&](Index begin, Index end) {
      for (Index item = begin; item < end; ++item) {
        const Index plane = item / phase.rows.count;
        spread_row(phase, item % phase.rows.count, plane % blocks, image + plane / blocks * args.dst_image,
                   y + plane * oh * ow * block);
      }
    });
  }
}

void Phases::spread_row(const Phase& phase, Index row, Index block, const float* image, float* y) const {
  constexpr Index kPixels = 64;
  alignas(64) float line[kPixels * kMostLanes];
  const Index lanes = block_size();
  const kernels::ConvShape& shape = joined->plan.shape;
  // where the outputs' first pixel lies in the joined image, and what rest it leaves
  const Index top = phase.rows.first + row * whole.sh + whole.top, left = phase.columns.first + whole.left;
  const Index filter = (top % whole.sh * whole.sw + left % whole.sw) * whole.k + block * lanes;
  const Index from = ((top / whole.sh - joined->top) * shape.ow() + left / whole.sw - joined->left) * lanes;
  const Index plane = shape.oh() * shape.ow() * lanes, count = std::min(lanes, whole.k - block * lanes);
  const float* const a = image + filter / lanes * plane + from;
  const float* const b = filter % lanes + count > lanes ? a + plane : a;
  std::int32_t places[kMostLanes];
  for (Index lane = 0; lane < lanes; ++lane)
    places[lane] = lane < count ? static_cast<std::int32_t>(filter % lanes + lane) : -1;
  float* to = y + ((top - whole.top) * ow + phase.columns.first) * lanes;
  for (Index x = 0; x < phase.columns.count; x += kPixels) {
    const Index pixels = std::min(kPixels, phase.columns.count - x);
    float_kernels().pick_lanes(a + x * lanes, b + x * lanes, places, line, pixels);
    float_kernels().copy_rows(line, lanes, to + x * whole.sw * lanes, whole.sw * lanes, lanes, 0, pixels);
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
  if (!depthwise) phases.joined = join(phases);
  if (phases.joined) phases.weights = phases.joined->plan.weights;
  return phases;
}

bool build_transposed_convolution(Builder& builder, const Step& step) {
  if (build_few_filters_transposed(builder, step) || build_transposed_volume(builder, step)) return true;
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
