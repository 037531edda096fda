// Pixels at places that a grid names.
#include "runtime/kernels/float32/grid_sample/grid_sample.hpp"

#include <algorithm>
#include <utility>

#include "rdquant/core/cpu.hpp"
#include "runtime/native/float32/convolution.hpp"
#include "runtime/native/loops.hpp"
#include "runtime/native/rules.hpp"

namespace rdquant::runtime::native {
namespace {

using core::Shape;
using kernels::GridSampleArgs;
using kernels::Index;
using program::Step;

GridSampleArgs arguments_of(const program::GridSample& step, const Shape& x, const Shape& y) {
  GridSampleArgs args;
  args.axes = static_cast<Index>(x.size()) - 2;
  std::copy(x.begin() + 2, x.end(), args.sizes);
  args.points = core::element_count(y) / (y[0] * y[1]);
  args.planes = x[1];
  args.mode = step.mode == program::ResizeMode::nearest  ? kernels::GridMode::nearest
              : step.mode == program::ResizeMode::linear ? kernels::GridMode::linear
                                                         : kernels::GridMode::cubic;
  args.edge = step.padding == program::GridPadding::zeros    ? kernels::GridEdge::zeros
              : step.padding == program::GridPadding::border ? kernels::GridEdge::border
                                                             : kernels::GridEdge::reflection;
  args.align_corners = step.align_corners;
  args.in_vectors = core::gathers_in_vectors();
  return args;
}

/// As images, which may lie in blocks: all axes but the last are rows.
Shape in_rows(const Shape& shape) {
  Index rows = 1;
  for (std::size_t i = 2; i + 1 < shape.size(); ++i) rows *= shape[i];
  return {shape[0], shape[1], rows, shape.back()};
}

/// Whether to bring a plain image into blocks, where all channels of a point are read at once, takes less time than
/// to look its elements up one by one.
bool blocks_pay(const GridSampleArgs& args) {
  return 2 * args.planes >= block_size() && args.sizes[0] * args.sizes[1] * args.sizes[2] <= 2 * args.points;
}

/// Operands: x, grid, y.
struct GridSampleWork {
  GridSampleArgs args;
  Index images;
  int threads;

  void operator()(void* const* operand) const {
    share(images * kernels::divide(args.points, kernels::kGridPiece), 1, threads,
          [&](Index begin, Index end) {
            kernels::grid_sample(float_kernels().isa)
                .sample(args, static_cast<const float*>(operand[0]), static_cast<const float*>(operand[1]),
                        static_cast<float*>(operand[2]), begin, end);
          });
  }
};

}  // namespace

bool build_grid_sample(Builder& builder, const Step& step) {
  if (!is_sampled_image(builder.program(), step)) return false;
  const Shape &x = builder.value(step.inputs[0]).shape, &y = builder.value(step.outputs[0]).shape;
  GridSampleArgs args = arguments_of(std::get<program::GridSample>(step.operation), x, y);
  const bool blocked = builder.layout(step.outputs[0]) == Layout::blocked || blocks_pay(args);
  const Layout layout = blocked ? Layout::blocked : Layout::plain;
  if (blocked) {
    args.lanes = block_size();
    args.planes = kernels::divide(args.planes, args.lanes);
  }
  std::vector<Place> operands{builder.read_as(step.inputs[0], x.size() == 4 ? x : in_rows(x), layout),
                              builder.read(step.inputs[1], Layout::plain),
                              {}};
  operands[2] = builder.write_as(step.outputs[0], y.size() == 4 ? y : in_rows(y), layout);
  builder.emit(make_native(with_isa("grid sample"), 3, GridSampleWork{args, x[0], builder.threads()}),
               std::move(operands), layout);
  return true;
}

}  // namespace rdquant::runtime::native
