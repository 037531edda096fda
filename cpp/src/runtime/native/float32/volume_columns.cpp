// Convolutions over three axes whose kernels extend along the depth alone. To them a volume is an image whose rows are
// its planes: one convolution over two axes with a kernel of one column. It is run on a few columns at a time, whose
// blocks stay in the cache between the plain volumes.
#include <algorithm>
#include <utility>

#include "runtime/native/float32/volume.hpp"

namespace rdquant::runtime::native {
namespace {

using core::Shape;
using kernels::ConvPlan;
using kernels::Index;
using program::kNone;

/// Columns of a volume [channels][rows][area] as an image in blocks [⌈c/B⌉][rows][wide][B].
struct Columns {
  Index channels, rows, area, wide;

  [[nodiscard]] Index blocks() const { return kernels::divide(channels, block_size()); }
  [[nodiscard]] Index floats() const { return blocks() * rows * wide * block_size(); }

  /// `volume` begins at the first of `count` columns.
  void to_blocks(const float* volume, Index count, float* blocked) const {
    visit([&](Index plain, Index at, Index lanes) {
      if (lanes < block_size()) std::fill_n(blocked + at, count * block_size(), 0.0F);
      float_kernels().transpose(volume + plain, rows * area, blocked + at, block_size(), lanes, count);
    });
  }
  void to_plain(const float* blocked, Index count, float* volume) const {
    visit([&](Index plain, Index at, Index lanes) {
      float_kernels().transpose(blocked + at, block_size(), volume + plain, rows * area, count, lanes);
    });
  }

 private:
  /// Calls body(offset in the volume, offset in the blocks, channels) for every row of every block.
  template <typename Body>
  void visit(const Body& body) const {
    const Index block = block_size();
    for (Index first = 0; first < channels; first += block) {
      for (Index row = 0; row < rows; ++row)
        body((first * rows + row) * area, (first * rows + row * block) * wide,
             std::min(block, channels - first));
    }
  }
};

/// Operands: x and y, plain; packed weights; blocks of source, result and residual of every thread; then bias, slopes
/// and residual where given.
struct ColumnsWork {
  ConvPlan plan;
  Index images;
  Columns from, to;
  kernels::ConvArgs fixed;
  bool bias, slopes, residual;
  int threads;

  [[nodiscard]] Index scratch() const { return from.floats() + (residual ? 2 : 1) * to.floats(); }

  void operator()(void* const* operand) const {
    const auto* const x = static_cast<const float*>(operand[0]);
    auto* const y = static_cast<float*>(operand[1]);
    auto* const blocks = static_cast<float*>(operand[3]);
    kernels::ConvArgs args = fixed;
    args.weights = static_cast<const float*>(operand[2]);
    void* const* next = operand + 4;
    if (bias) args.bias = static_cast<const float*>(*next++);
    if (slopes) args.activation.slopes = static_cast<const float*>(*next++);
    const auto* const added = residual ? static_cast<const float*>(*next) : nullptr;
    const Index pieces = kernels::divide(from.area, from.wide);
    share_ranked(images * pieces, 1, threads, [&](Index begin, Index end, int rank) {
      for (Index item = begin; item < end; ++item) {
        const Index image = item / pieces, at = item % pieces * from.wide;
        const Index result = image * to.channels * to.rows * to.area + at;
        convolve(args, x + image * from.channels * from.rows * from.area + at, y + result,
                 residual ? added + result : nullptr, std::min(from.wide, from.area - at),
                 blocks + rank * scratch());
      }
    });
  }

 private:
  /// One piece. What the last one lacks of its columns is computed from what lies there, and not stored.
  void convolve(kernels::ConvArgs args, const float* x, float* y, const float* added, Index count,
                float* blocks) const {
    float *const result = blocks + from.floats(), *const to_add = result + to.floats();
    from.to_blocks(x, count, blocks);
    if (residual) to.to_blocks(added, count, to_add);
    args.src = blocks;
    args.dst = result;
    args.residual = residual ? to_add : nullptr;
    float_kernels().convolve(plan, args, 0, plan.items);
    to.to_plain(result, count, y);
  }
};

/// Columns of one piece: about as many in each, in whole vectors, which transpositions read and write.
std::optional<ConvPlan> plan_pieces(kernels::ConvShape shape, Index area, Index images, int threads) {
  const Index column = (shape.c * shape.h + shape.k * shape.oh()) * static_cast<Index>(sizeof(float));
  const Index pieces =
      std::max(kernels::divide(area * column, kCachedBytes), kernels::divide(threads, images));
  const Index wide = kernels::divide(kernels::divide(area, pieces), block_size()) * block_size();
  shape.w = std::min(area, wide);
  auto plan = plan_of(shape, kernels::ConvMethod::dense);
  // the piece lies in a cache that the weights may exceed
  if (plan) plan->filters_first = true;
  return plan;
}

/// Whether the window takes every column by itself.
bool takes_columns(const program::Window& window) {
  for (std::size_t axis = 1; axis < 3; ++axis) {
    if (window.kernel[axis] != 1 || window.strides[axis] != 1) return false;
    if (window.pads_begin[axis] != 0 || window.pads_end[axis] != 0) return false;
  }
  return true;
}

}  // namespace

bool build_columns_volume(Builder& builder, const ConvolutionParts& parts,
                          const kernels::Activation& activation) {
  const program::Convolution& op = parts.convolution;
  const Shape &x = builder.value(parts.x).shape, &w = builder.value(parts.w).shape,
              &y = builder.value(parts.y).shape;
  const program::Window& window = op.window;
  if (op.groups != 1 || !takes_columns(window)) return false;
  const int threads = builder.threads();
  kernels::ConvShape shape = conv_shape_of(builder, parts.x, parts.w, window, 1);
  // padding lanes are zeros: a last block that is not full may be taken as if it were
  shape.n = 1;
  shape.c = kernels::divide(x[1], block_size()) * block_size();
  shape.h = x[2];
  shape.kh = w[2];
  shape.sh = window.strides[0];
  shape.dh = window.dilations[0];
  shape.top = window.pads_begin[0];
  shape.bottom = window.pads_end[0];
  const bool pointwise = shape.kh == 1 && shape.sh == 1 && shape.top == 0 && shape.bottom == 0;
  if (pointwise) shape.h = 1;
  const Index area = x[3] * x[4] * (pointwise ? x[2] : 1);
  const auto plan = plan_pieces(shape, area, x[0], threads);
  if (!plan) return false;
  const bool bias = parts.bias != kNone, slopes = parts.slopes != kNone, residual = parts.residual != kNone;
  kernels::ConvArgs fixed;
  fixed.residual_last = op.residual_last;
  fixed.activation = activation;
  const ColumnsWork work{*plan,
                         x[0],
                         {x[1], shape.h, area, plan->shape.w},
                         {w[0], pointwise ? 1 : y[2], area, plan->shape.w},
                         fixed,
                         bias,
                         slopes,
                         residual,
                         threads};
  const auto packer = std::make_shared<FilterPacker>(float_kernels(), *plan, x[1], threads);
  std::vector<Place> operands{builder.read(parts.x, Layout::plain),
                              {},
                              builder.packed(parts.w, bytes_of(plan->weights), packer),
                              builder.scratch(bytes_of(threads * work.scratch()))};
  if (bias) operands.push_back(pack_vector(builder, parts.bias, w[0]));
  if (slopes) operands.push_back(pack_vector(builder, parts.slopes, w[0]));
  if (residual) operands.push_back(builder.read(parts.residual, Layout::plain));
  operands[1] = builder.write(parts.y, Layout::plain);
  const std::size_t count = operands.size();
  builder.emit(make_native(with_isa("dense columns"), count, work), std::move(operands), Layout::plain);
  return true;
}

}  // namespace rdquant::runtime::native
