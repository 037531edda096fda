// Convolutions of few filters, over two or three axes: filters would leave most lanes of a vector empty, so pixels fill
// them. A product of matrices gives what each filter makes of a pixel under each of its taps; the answer is the sum of
// those rows, each moved by its tap.
#include "runtime/native/few_filters/few_filters.hpp"

#include <algorithm>
#include <array>
#include <memory>
#include <utility>
#include <vector>

#include "runtime/kernels/float32/matmul/matmul.hpp"
#include "runtime/native/float32/packing.hpp"
#include "runtime/native/loops.hpp"
#include "runtime/native/rules.hpp"

namespace rdquant::runtime::native {
namespace {

using core::Shape;
using kernels::Index;
using program::kNone;

/// What is multiplied at once: `rows` rows of plane `z` from `row` on, or part of one row.
struct Strip {
  Index z = 0, row = 0, rows = 1, left = 0, width = 0;
};

/// As large a strip as what it gives stays in the second cache.
Strip largest_strip(const FewFilters& shape) {
  constexpr Index kFloats = 65536, kWidth = 256;
  const TapAxis &rows = shape.axes[1], &columns = shape.axes[2];
  const Index pixels = std::max(kFloats / shape.rows(), kWidth);
  if (pixels < columns.in) return {.width = pixels};
  return {.rows = std::min(pixels / columns.in, rows.in), .width = columns.in};
}

/// Weights [filter][channel][tap] as [filter][tap][channel].
class TapPacker final : public Packer {
 public:
  explicit TapPacker(const FewFilters& shape) : shape_(shape) {}
  void pack(const void* from, void* to) const override {
    const auto* const w = static_cast<const float*>(from);
    auto* const packed = static_cast<float*>(to);
    const Index taps = shape_.taps(), channels = shape_.channels;
    for (Index row = 0; row < shape_.rows(); ++row) {
      for (Index c = 0; c < channels; ++c)
        packed[row * channels + c] = w[(row / taps * channels + c) * taps + row % taps];
    }
  }

 private:
  FewFilters shape_;
};

/// Operands: as FewFiltersRun says.
struct FewFiltersWork {
  FewFilters shape;
  const kernels::Matmul& kernels;
  FewFiltersEnd end;
  int threads;
  Index parts;                           ///< of each image, along its rows
  Index packed, products, scratch, all;  ///< floats of a thread's memory, and of all of it

  void operator()(void* const* operand) const {
    share_ranked(shape.images * parts, 1, threads, [&](Index first, Index last, int rank) {
      auto* const memory = static_cast<float*>(operand[3]) + rank * all;
      for (Index item = first; item < last; ++item) make(operand, item / parts, item % parts, memory);
    });
  }

 private:
  /// Rows of the results that are made together.
  struct Part {
    Index first, last;
  };

  void make(void* const* operand, Index image, Index part, float* memory) const {
    const auto& [depth, rows, columns] = shape.axes;
    const Part made{rows.out * part / parts, rows.out * (part + 1) / parts};
    const float* const x = static_cast<const float*>(operand[0]) + image * shape.image();
    float* const y = static_cast<float*>(operand[2]) + image * shape.filters * shape.results();
    const auto* const b = end.bias ? static_cast<const float*>(operand[4]) : nullptr;
    const float* added = nullptr;
    if (end.residual)
      added =
          static_cast<const float*>(operand[end.bias ? 5 : 4]) + (y - static_cast<const float*>(operand[2]));
    each_run(made, [&](Index filter, Index at, Index count) {
      const float start = b != nullptr ? b[filter] : 0.0F;
      if (end.residual && !end.residual_last) {
        float_kernels().binary(kernels::Binary::add, added + at, 1, &start, 0, y + at, 0, count);
      } else {
        std::fill_n(y + at, count, start);
      }
    });
    const Index first = std::max<Index>(0, made.first - rows.before);
    const Index last = std::min(rows.in, made.last - rows.before + (rows.taps - 1) * rows.dilation);
    const Strip most = largest_strip(shape);
    for (Index z = 0; z < depth.in; ++z) {
      for (Index row = first; row < last; row += most.rows) {
        for (Index left = 0; left < columns.in; left += most.width) {
          const Strip strip{z, row, std::min(most.rows, last - row), left,
                            std::min(most.width, columns.in - left)};
          multiply(x, static_cast<const float*>(operand[1]), strip, memory);
          add(made, strip, memory + packed, y);
        }
      }
    }
    each_run(made, [&](Index, Index at, Index count) {
      if (end.activation.function != kernels::Function::none)
        float_kernels().unary(end.activation, y + at, y + at, 0, count);
      if (end.residual && end.residual_last)
        float_kernels().binary(kernels::Binary::add, y + at, 1, added + at, 1, y + at, 0, count);
    });
  }

  /// Calls body(filter, offset in y, floats) for the results of a part, plane by plane.
  template <typename Body>
  void each_run(const Part& made, const Body& body) const {
    const auto& [depth, rows, columns] = shape.axes;
    for (Index plane = 0; plane < shape.filters * depth.out; ++plane) {
      body(plane / depth.out, (plane * rows.out + made.first) * columns.out,
           (made.last - made.first) * columns.out);
    }
  }

  /// What all filters make, under every tap, of a strip.
  void multiply(const float* x, const float* weights, const Strip& strip, float* memory) const {
    const Index pixels = strip.rows * strip.width;
    const Index first = (strip.z * shape.axes[1].in + strip.row) * shape.axes[2].in + strip.left;
    const kernels::MatmulPlan plan = kernels.plan(shape.rows(), pixels, shape.channels, 1);
    const float* const from = x + first * (shape.blocked ? block_size() : 1);
    if (shape.blocked) {
      pack_blocks(plan, from, memory);
    } else {
      kernels.pack(plan, from, shape.axes[0].in * shape.plane(), 1, memory, 0, plan.panels);
    }
    kernels::MatmulArgs args;
    args.a = weights;
    args.a_row = shape.channels;
    args.b = memory;
    args.y = memory + packed;
    args.y_row = pixels;
    kernels.run(plan, args, memory + packed + products, 0, plan.items);
  }

  /// Pixels of an image in blocks as columns of a packed matrix, whose rows are the channels.
  void pack_blocks(const kernels::MatmulPlan& plan, const float* from, float* to) const {
    const Index block = block_size(), wide = plan.packed / (plan.panels * plan.k);
    for (Index panel = 0; panel < plan.panels; ++panel) {
      const Index pixels = std::min(wide, plan.n - panel * wide);
      for (Index c = 0; c < shape.channels; c += block) {
        float_kernels().transpose(from + c * shape.plane() + panel * wide * block, block,
                                  to + (panel * plan.k + c) * wide, wide, pixels,
                                  std::min(block, shape.channels - c));
      }
    }
  }

  /// Adds what was made of a strip to the results of the part that see it.
  void add(const Part& made, const Strip& strip, const float* products_of, float* y) const {
    const auto& [depth, rows, columns] = shape.axes;
    const Index stride = strip.rows * strip.width, each = rows.taps * columns.taps;
    const Index begin = std::max(made.first, rows.seen_by(strip.row, rows.taps - 1));
    const Index stop = std::min(made.last, rows.seen_by(strip.row + strip.rows - 1, 0) + 1);
    for (Index filter = 0; filter < shape.filters; ++filter) {
      for (Index tap = 0; tap < depth.taps; ++tap, products_of += each * stride) {
        const Index plane = depth.seen_by(strip.z, tap);
        if (plane < 0 || plane >= depth.out) continue;
        float* const lines = y + (filter * depth.out + plane) * rows.out * columns.out;
        for (Index row = begin; row < stop; ++row)
          add_taps(row, strip, products_of, lines + row * columns.out);
      }
    }
  }

  /// The same for one row of one plane: the sum of what its taps see of the strip.
  void add_taps(Index row, const Strip& strip, const float* products_of, float* line) const {
    const auto& [depth, rows, columns] = shape.axes;
    const Index begin = std::max<Index>(0, columns.seen_by(strip.left, columns.taps - 1));
    const Index stop = std::min(columns.out, columns.seen_by(strip.left + strip.width - 1, 0) + 1);
    if (begin >= stop) return;
    constexpr Index kMost = 64;
    std::array<kernels::MovedRow, kMost> moved;  // NOLINT(*-member-init): filled as far as it is read
    Index n = 0;
    const auto flush = [&] {
      float_kernels().add_moved(moved.data(), n, strip.width, line + begin, stop - begin);
      n = 0;
    };
    for (Index tap = 0; tap < rows.taps; ++tap) {
      const Index from = row - rows.seen_by(strip.row, tap);  // among the rows of the strip
      if (from < 0 || from >= strip.rows) continue;
      for (Index i = 0; i < columns.taps; ++i) {
        if (n == kMost) flush();
        moved[static_cast<std::size_t>(n++)] = {
            products_of + ((tap * columns.taps + i) * strip.rows + from) * strip.width,
            columns.seen_by(strip.left, i) - begin};
      }
    }
    if (n > 0) flush();
  }
};

/// The convolution with its window, for two axes and for three.
FewFilters shape_of_few(const Builder& builder, const ConvolutionParts& parts) {
  const Shape& x = builder.value(parts.x).shape;
  const Shape from = x.size() == 3 ? as_image(x) : x;
  const Shape to = x.size() == 3 ? as_image(builder.value(parts.y).shape) : builder.value(parts.y).shape;
  const program::Window& window = parts.convolution.window;
  FewFilters shape{from[0], from[1], to[1], {}, builder.layout(parts.x) == Layout::blocked};
  const std::size_t axes = window.kernel.size(), shift = from.size() - axes;
  for (std::size_t i = 0; i < axes; ++i) {
    shape.axes[3 - axes + i] = {from[shift + i], to[shift + i], window.kernel[i], window.dilations[i],
                                window.pads_begin[i]};
  }
  return shape;
}

}  // namespace

FewFiltersRun run_few_filters(const FewFilters& shape, const FewFiltersEnd& end, int threads) {
  const kernels::Matmul& kernels = kernels::matmul(float_kernels().isa);
  const Strip strip = largest_strip(shape);
  const Index pixels = strip.rows * strip.width;
  const kernels::MatmulPlan plan = kernels.plan(shape.rows(), pixels, shape.channels, 1);
  constexpr Index kRows = 16;  // of a part at least: those beside it are multiplied again
  FewFiltersWork work{shape, kernels, end, threads, 1, 0, 0, 0, 0};
  if (shape.images < threads)
    work.parts = std::clamp<Index>(shape.axes[1].out / kRows, 1, kernels::divide(threads, shape.images));
  const auto lines = [](Index floats) { return kernels::divide(floats, kLine) * kLine; };
  work.packed = lines(plan.packed);
  work.products = lines(shape.rows() * pixels);
  work.scratch = lines(plan.scratch);
  work.all = work.packed + work.products + work.scratch;
  return {work, work.all * threads};
}

bool few_filters_pay(const Builder& builder, const ConvolutionParts& parts) {
  const program::Convolution& op = parts.convolution;
  const auto one = [](std::int64_t stride) { return stride == 1; };
  if (op.groups != 1 || !std::ranges::all_of(op.window.strides, one) || parts.slopes != kNone ||
      (parts.in_place && op.residual_last)) {
    return false;
  }
  constexpr Index kLeastChannels = 8, kLeastTaps = 5;  // fewer do not repay the additions
  const FewFilters shape = shape_of_few(builder, parts);
  if (shape.filters > block_size() || shape.channels < kLeastChannels || shape.taps() < kLeastTaps)
    return false;
  // what filters side by side cost, with Winograd's algorithm 0.4 of it, against what was measured of this
  const Index lanes = block_size() * shape.channels, few = shape.filters * (shape.channels + 8);
  const bool fewer = parts.convolution.window.kernel.size() < 3 &&
                     kernels::winograd_pays(conv_shape_of(builder, parts.x, parts.w, op.window, 1)) != 0;
  return fewer ? 13 * few < 4 * lanes : 13 * few < 10 * lanes;
}

bool build_few_filters(Builder& builder, const ConvolutionParts& parts) {
  if (!few_filters_pay(builder, parts)) return false;
  const auto activation = kernel_activation(parts.convolution.activation);
  if (!activation) return false;
  const FewFilters shape = shape_of_few(builder, parts);
  const bool bias = parts.bias != kNone, residual = parts.residual != kNone;
  FewFiltersRun run = run_few_filters(shape, {*activation, bias, residual, parts.convolution.residual_last},
                                      builder.threads());
  std::vector<Place> operands{
      builder.read(parts.x, shape.blocked ? Layout::blocked : Layout::plain),
      builder.packed(parts.w, bytes_of(shape.rows() * shape.channels), std::make_shared<TapPacker>(shape)),
      {},
      builder.scratch(bytes_of(run.scratch))};
  if (bias) operands.push_back(pack_vector(builder, parts.bias, shape.filters));
  if (residual) operands.push_back(builder.read(parts.residual, Layout::plain));
  operands[2] = builder.write(parts.y, Layout::plain);
  const std::size_t count = operands.size();
  builder.emit(make_native(with_isa("few_filters"), count, std::move(run.work)), std::move(operands),
               Layout::plain);
  return true;
}

}  // namespace rdquant::runtime::native
