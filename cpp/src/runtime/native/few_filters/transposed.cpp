// Transposed convolutions of few filters: outputs whose places leave the same rest when divided by the strides are
// filters of one convolution, whose answers are then put side by side.
#include <algorithm>
#include <array>
#include <memory>
#include <utility>
#include <vector>

#include "runtime/native/few_filters/few_filters.hpp"
#include "runtime/native/float32/packing.hpp"
#include "runtime/native/rules.hpp"

namespace rdquant::runtime::native {
namespace {

using core::Shape;
using kernels::Index;
using program::kNone;
using program::Step;

/// Along one axis.
struct SpreadAxis {
  Index in = 1, out = 1, kernel = 1, stride = 1, pad = 0;

  [[nodiscard]] Index taps() const { return kernels::divide(kernel, stride); }
  [[nodiscard]] Index first() const { return pad / stride; }  ///< what the first output leaves, divided
  [[nodiscard]] Index rest(Index place) const { return (place + pad) % stride; }
  [[nodiscard]] Index quotient(Index place) const { return (place + pad) / stride - first(); }
  [[nodiscard]] TapAxis convolved() const {
    return {in, quotient(out - 1) + 1, taps(), 1, taps() - 1 - first()};
  }
};

struct Spread {
  Index images, channels, filters;
  std::array<SpreadAxis, 3> axes;

  [[nodiscard]] Index phases() const { return axes[0].stride * axes[1].stride * axes[2].stride; }
  /// The convolution, whose filter p·filters + f makes what filter f makes of the rests that p numbers.
  [[nodiscard]] FewFilters convolution(bool blocked) const {
    return {images,
            channels,
            filters * phases(),
            {axes[0].convolved(), axes[1].convolved(), axes[2].convolved()},
            blocked};
  }
};

/// Weights [channel][filter][taps of three axes] as those of the convolution; zeros where a rest has fewer taps.
class SpreadPacker final : public Packer {
 public:
  explicit SpreadPacker(const Spread& spread) : spread_(spread) {}
  void pack(const void* from, void* to) const override {
    const auto* const w = static_cast<const float*>(from);
    auto* next = static_cast<float*>(to);
    const auto& [depth, rows, columns] = spread_.axes;
    const FewFilters made = spread_.convolution(false);
    const Index area = depth.kernel * rows.kernel * columns.kernel;
    for (Index row = 0; row < made.rows(); ++row) {
      const Index phase = row / made.taps() / spread_.filters, filter = row / made.taps() % spread_.filters;
      const Index tap = row % made.taps();
      const Index x = at(columns, tap % columns.taps(), phase % columns.stride);
      const Index y = at(rows, tap / columns.taps() % rows.taps(), phase / columns.stride % rows.stride);
      const Index z = at(depth, tap / columns.taps() / rows.taps(), phase / columns.stride / rows.stride);
      const bool inside = x < columns.kernel && y < rows.kernel && z < depth.kernel;
      const Index place = (z * rows.kernel + y) * columns.kernel + x;
      for (Index c = 0; c < spread_.channels; ++c)
        *next++ = inside ? w[(c * spread_.filters + filter) * area + place] : 0.0F;
    }
  }

 private:
  /// The tap of the transposed convolution that is `tap` of the convolution for a rest.
  static Index at(const SpreadAxis& axis, Index tap, Index rest) {
    return (axis.taps() - 1 - tap) * axis.stride + rest;
  }

  Spread spread_;
};

/// A number for each filter, once for each phase.
class PhaseBiasPacker final : public Packer {
 public:
  explicit PhaseBiasPacker(const Spread& spread) : spread_(spread) {}
  void pack(const void* from, void* to) const override {
    for (Index phase = 0; phase < spread_.phases(); ++phase)
      std::copy_n(static_cast<const float*>(from), spread_.filters,
                  static_cast<float*>(to) + phase * spread_.filters);
  }

 private:
  Spread spread_;
};

/// Operands: x, weights, what the convolution makes, scratch, y (plain), bias where given.
struct SpreadWork {
  Spread spread;
  Work convolve;
  int threads;

  void operator()(void* const* operand) const {
    const std::array<void*, 5> convolved{operand[0], operand[1], operand[2], operand[3], operand[5]};
    convolve(convolved.data());
    const auto* const made = static_cast<const float*>(operand[2]);
    auto* const y = static_cast<float*>(operand[4]);
    const auto& [depth, rows, columns] = spread.axes;
    const Index lines = spread.images * spread.filters * depth.out * rows.out;
    share(lines, std::max<Index>(1, 8192 / columns.out), threads, [&](Index begin, Index end) {
      for (Index line = begin; line < end; ++line) put_line(made, line, y + line * columns.out);
    });
  }

 private:
  /// A row of y from those of its phases.
  void put_line(const float* made, Index line, float* to) const {
    const auto& [depth, rows, columns] = spread.axes;
    const Index y = line % rows.out, z = line / rows.out % depth.out;
    const Index filter = line / rows.out / depth.out % spread.filters,
                image = line / rows.out / depth.out / spread.filters;
    const FewFilters shape = spread.convolution(false);
    const Index phases = (depth.rest(z) * rows.stride + rows.rest(y)) * columns.stride;
    for (Index first = 0; first < std::min(columns.stride, columns.out); ++first) {
      const Index from = (phases + columns.rest(first)) * spread.filters + filter;
      const Index plane = (image * shape.filters + from) * shape.axes[0].out + depth.quotient(z);
      const float* at =
          made + (plane * shape.axes[1].out + rows.quotient(y)) * shape.axes[2].out + columns.quotient(first);
      for (Index x = first; x < columns.out; x += columns.stride) to[x] = *at++;
    }
  }
};

/// Whether this is expected to be faster than filters side by side, each phase alone or, over two axes, all together:
/// what either multiplies for a place of the input, and moves of what it gives, as was measured.
bool pays(const Spread& spread, const FewFilters& shape) {
  constexpr Index kLeastChannels = 8;  // fewer do not repay the additions
  if (shape.channels < kLeastChannels) return false;
  const Index block = block_size(), phases = spread.phases();
  Index alone = kernels::divide(spread.filters, block), together = kernels::divide(shape.filters, block);
  const Index moved = 20 * alone * block * phases;
  for (const SpreadAxis& axis : spread.axes) {
    alone *= axis.kernel;
    together *= axis.taps();
  }
  const Index fewer = spread.axes[0].kernel == 1 ? std::min(alone, together) : alone;
  const Index here = 13 * shape.rows() * (shape.channels + 8) / 10 + 60 * shape.filters;
  return here < block * spread.channels * fewer + moved;
}

Spread spread_of(const Shape& x, const Shape& y, const program::Window& window) {
  Spread spread{x[0], x[1], y[1], {}};
  const std::size_t axes = window.kernel.size(), shift = x.size() - axes;
  for (std::size_t i = 0; i < axes; ++i) {
    spread.axes[3 - axes + i] = {x[shift + i], y[shift + i], window.kernel[i], window.strides[i],
                                 window.pads_begin[i]};
  }
  return spread;
}

}  // namespace

bool build_few_filters_transposed(Builder& builder, const Step& step) {
  const auto* op = std::get_if<program::TransposedConvolution>(&step.operation);
  if (op == nullptr || op->groups != 1 || !all_float(builder.program(), step)) return false;
  const Shape &x = builder.value(step.inputs[0]).shape, &y = builder.value(step.outputs[0]).shape;
  const auto activation = kernel_activation(op->activation);
  const auto one = [](std::int64_t n) { return n == 1; };
  const bool plain = std::ranges::all_of(op->window.dilations, one) &&
                     std::ranges::all_of(op->window.pads_begin, [](std::int64_t pad) { return pad >= 0; });
  if (!activation || op->activation.function == program::Function::prelu || !plain || x.size() < 3 ||
      x.size() > 5 || core::element_count(x) == 0 || core::element_count(y) == 0) {
    return false;
  }
  const Spread spread = spread_of(x, y, op->window);
  const FewFilters shape = spread.convolution(builder.layout(step.inputs[0]) == Layout::blocked);
  if (!pays(spread, shape)) return false;
  const program::ValueId bias = program::input(step, 2);
  FewFiltersRun run = run_few_filters(shape, {*activation, bias != kNone, false, false}, builder.threads());
  std::vector<Place> operands{builder.read(step.inputs[0], shape.blocked ? Layout::blocked : Layout::plain),
                              builder.packed(step.inputs[1], bytes_of(shape.rows() * shape.channels),
                                             std::make_shared<SpreadPacker>(spread)),
                              builder.scratch(bytes_of(shape.images * shape.filters * shape.results())),
                              builder.scratch(bytes_of(run.scratch)),
                              {},
                              bias == kNone ? builder.scratch(0)
                                            : builder.packed(bias, bytes_of(shape.filters),
                                                             std::make_shared<PhaseBiasPacker>(spread))};
  operands[4] = builder.write(step.outputs[0], Layout::plain);
  const std::size_t count = operands.size();
  builder.emit(
      make_native(with_isa("few_filters"), count, SpreadWork{spread, std::move(run.work), builder.threads()}),
      std::move(operands), Layout::plain);
  return true;
}

}  // namespace rdquant::runtime::native
