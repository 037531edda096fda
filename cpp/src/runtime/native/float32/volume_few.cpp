// First convolutions over three axes: each plane of the output is a convolution over two axes of the few channels of
// all planes that its window covers, which stay plain.
#include <algorithm>
#include <utility>

#include "runtime/native/float32/volume.hpp"

namespace rdquant::runtime::native {
namespace {

using core::Shape;
using kernels::ConvPlan;
using kernels::Index;
using program::kNone;

/// Operands: x and y, plain; packed weights; planes that cover one of the result's, that one in blocks; bias where
/// given. One plane after the other, so that they stay in the cache.
struct FewChannelsVolume {
  ConvPlan plan;  ///< of one plane
  Planes from, to;
  Index taps, stride, dilation, front;
  kernels::Activation activation;
  bool bias;
  int threads;

  void operator()(void* const* operand) const {
    auto* const covered = static_cast<float*>(operand[3]);
    auto* const target = static_cast<float*>(operand[4]);
    kernels::ConvArgs args;
    args.src = covered;
    args.weights = static_cast<const float*>(operand[2]);
    args.bias = bias ? static_cast<const float*>(operand[5]) : nullptr;
    args.dst = target;
    args.activation = activation;
    for (Index item = 0; item < to.images * to.depth; ++item) {
      cover(static_cast<const float*>(operand[0]), item, covered);
      share(plan.items, 1, threads,
            [&](Index begin, Index end) { float_kernels().convolve(plan, args, begin, end); });
      to.to_plain(target, item, 1, static_cast<float*>(operand[1]));
    }
  }

 private:
  /// The planes under the window of plane `item` of all results.
  void cover(const float* x, Index item, float* covered) const {
    const float* const image = x + item / to.depth * from.channels * from.depth * from.area;
    share(taps * from.channels, 1, threads, [&](Index begin, Index end) {
      for (Index plane = begin; plane < end; ++plane) {
        const Index z = item % to.depth * stride - front + plane / from.channels * dilation;
        float* const at = covered + plane * from.area;
        if (z < 0 || z >= from.depth) {
          std::fill_n(at, from.area, 0.0F);
        } else {
          std::copy_n(image + (plane % from.channels * from.depth + z) * from.area, from.area, at);
        }
      }
    });
  }
};

}  // namespace

bool build_few_channels_volume(Builder& builder, const ConvolutionParts& parts,
                               const kernels::Activation& activation) {
  const program::Convolution& op = parts.convolution;
  const Shape &x = builder.value(parts.x).shape, &w = builder.value(parts.w).shape,
              &y = builder.value(parts.y).shape;
  if (op.groups != 1 || parts.slopes != kNone || parts.residual != kNone) return false;
  kernels::ConvShape shape = conv_shape_of(builder, parts.x, parts.w, op.window, 1);
  shape.n = 1;
  shape.c = w[1] * w[2];
  const auto plan = plan_of(shape, kernels::ConvMethod::few_channels);
  if (!plan) return false;
  const int threads = builder.threads();
  const Planes from{x[0], x[1], x[2], x[3] * x[4], threads}, to{y[0], y[1], y[2], y[3] * y[4], threads};
  const auto packer = std::make_shared<FilterPacker>(float_kernels(), *plan, shape.c, threads);
  std::vector<Place> operands{
      builder.read(parts.x, Layout::plain),
      {},
      builder.packed(parts.w, bytes_of(plan->weights), std::make_shared<CoveredPacker>(packer, w)),
      builder.scratch(bytes_of(shape.c * from.area)),
      builder.scratch(bytes_of(to.plane()))};
  if (parts.bias != kNone) operands.push_back(pack_vector(builder, parts.bias, w[0]));
  operands[1] = builder.write(parts.y, Layout::plain);
  const std::size_t count = operands.size();
  builder.emit(
      make_native(with_isa("few_channels volume"), count,
                  FewChannelsVolume{*plan, from, to, w[2], op.window.strides[0], op.window.dilations[0],
                                    op.window.pads_begin[0], activation, parts.bias != kNone, threads}),
      std::move(operands), Layout::plain);
  return true;
}

}  // namespace rdquant::runtime::native
