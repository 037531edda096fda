// Images of another size. Included by one file per instruction set, which sets RDQUANT_KERNELS_ISA.
#include "runtime/kernels/float32/math.inl"
#include "runtime/kernels/float32/resample/tables.hpp"

namespace rdquant::runtime::kernels {
namespace {

// The rows that make row `r` of the result, added into one.
void blend_rows(const ResampleArgs& args, const float* plane, Index r, float* blended) {
  const Index n = args.w * args.lanes;
  for (Index tap = 0; tap < args.rows.taps; ++tap) {
    const float weight = args.rows.weights[tap * args.oh + r];
    if (weight == 0.0f && tap > 0) continue;  // fills up a shorter sum
    const float* const x = plane + args.rows.places[tap * args.oh + r] * n;
    const F32 factor = splat(weight);
    Index i = 0;
    for (; i + kBlock <= n; i += kBlock) {
      store(blended + i, tap == 0 ? load(x + i) * factor : fma(load(x + i), factor, load(blended + i)));
    }
    for (; i < n; ++i) blended[i] = tap == 0 ? x[i] * weight : blended[i] + x[i] * weight;
  }
}

void plain_columns(const ResampleArgs& args, const float* x, float* y) {
  const ResampleAxis& axis = args.columns;
  for (Index j = 0; j < args.ow; ++j) y[j] = x[axis.places[j]] * axis.weights[j];
  for (Index tap = 1; tap < axis.taps; ++tap) {
    const std::int32_t* const places = axis.places + tap * args.ow;
    const float* const weights = axis.weights + tap * args.ow;
    for (Index j = 0; j < args.ow; ++j) y[j] += weights[j] == 0.0f ? 0.0f : x[places[j]] * weights[j];
  }
}

void blocked_columns(const ResampleArgs& args, const float* x, float* y) {
  const ResampleAxis& axis = args.columns;
  for (Index j = 0; j < args.ow; ++j) {
    for (Index lane = 0; lane < args.lanes; lane += kBlock) {
      F32 sums = load(x + axis.places[j] * args.lanes + lane) * splat(axis.weights[j]);
      for (Index tap = 1; tap < axis.taps; ++tap) {
        const float weight = axis.weights[tap * args.ow + j];
        if (weight == 0.0f) continue;
        sums = fma(load(x + axis.places[tap * args.ow + j] * args.lanes + lane), splat(weight), sums);
      }
      store(y + j * args.lanes + lane, sums);
    }
  }
}

void image(const ResampleArgs& args, const float* src, float* dst, float* scratch, Index begin, Index end) {
  const Index line = args.ow * args.lanes;
  for (Index item = begin; item < end; ++item) {
    blend_rows(args, src + item / args.oh * args.h * args.w * args.lanes, item % args.oh, scratch);
    if (args.lanes == 1) {
      plain_columns(args, scratch, dst + item * line);
    } else {
      blocked_columns(args, scratch, dst + item * line);
    }
  }
}

}  // namespace

namespace RDQUANT_KERNELS_ISA {
const Resample resample = {.block = kBlock, .image = image};
}
}  // namespace rdquant::runtime::kernels
