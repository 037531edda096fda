// Images of another size whose pixels are weighted sums.
#include "runtime/kernels/float32/resample/resample.hpp"

#include <algorithm>
#include <utility>

#include "rdquant/program/evaluate.hpp"
#include "runtime/native/float32/convolution.hpp"
#include "runtime/native/loops.hpp"
#include "runtime/native/rules.hpp"

namespace rdquant::runtime::native {
namespace {

using core::Shape;
using kernels::Index;
using program::Step;

/// Operands: source, result, one row of the source for each thread.
struct ResampleWork {
  kernels::ResampleArgs args;
  program::ResizeTaps rows, columns;
  Index planes;
  int threads;

  static constexpr Index kFloats = 8192;  ///< that are worth a thread

  void operator()(void* const* operand) const {
    kernels::ResampleArgs all = args;
    all.rows = {rows.taps, rows.places.data(), rows.weights.data()};
    all.columns = {columns.taps, columns.places.data(), columns.weights.data()};
    const Index grain = std::max<Index>(1, kFloats / (args.ow * args.lanes));
    share_ranked(planes * args.oh, grain, threads, [&](Index begin, Index end, int thread) {
      float* const scratch = static_cast<float*>(operand[2]) + thread * args.w * args.lanes;
      kernels::resample(float_kernels().isa)
          .image(all, static_cast<const float*>(operand[0]), static_cast<float*>(operand[1]), scratch, begin,
                 end);
    });
  }
};

}  // namespace

bool build_resample(Builder& builder, const Step& step) {
  if (!is_resampled_image(builder.program(), step)) return false;
  const auto& resize = std::get<program::Resize>(step.operation);
  const Shape &from = builder.value(step.inputs[0]).shape, &to = builder.value(step.outputs[0]).shape;
  const Layout layout = builder.layout(step.outputs[0]);
  const Index lanes = layout == Layout::blocked ? block_size() : 1;
  const kernels::ResampleArgs args{from[2], from[3], to[2], to[3], lanes, {}, {}};
  const Index planes = from[0] * kernels::divide(from[1], lanes);
  const auto scratch = static_cast<std::size_t>(builder.threads() * args.w * lanes) * sizeof(float);
  ResampleWork work{args, program::resize_taps(resize, from, to, 2),
                    program::resize_taps(resize, from, to, 3), planes, builder.threads()};
  std::vector<Place> operands{builder.read(step.inputs[0], layout), {}, builder.scratch(scratch)};
  operands[1] = builder.write(step.outputs[0], layout);
  builder.emit(make_native(with_isa("resample"), 3, std::move(work)), std::move(operands), layout);
  return true;
}

}  // namespace rdquant::runtime::native
