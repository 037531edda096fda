// Pixels between those of an image: which elements make each point and with which weights, once for all channels.
// Included by one file per instruction set, which sets RDQUANT_KERNELS_ISA.
#include "runtime/kernels/float32/grid_sample/tables.hpp"
#include "runtime/kernels/float32/math.inl"
#include "simd/gather.inl"

namespace rdquant::runtime::kernels {
namespace {

constexpr Index kMostTaps = 64;  // four along each of three axes

// Elements and weights of the points of a piece, tap by tap.
struct GridTaps {
  Index count;
  std::int32_t places[kMostTaps][kGridPiece];
  float weights[kMostTaps][kGridPiece];
};

// One tap along an axis, of as many points as a vector has lanes.
struct AxisTap {
  I32 place;
  F32 weight;
};

Index taps_of(GridMode mode) { return mode == GridMode::nearest ? 1 : mode == GridMode::linear ? 2 : 4; }

// The elements next to `i`, whole numbers, that stand for what lies beyond the ends.
[[gnu::always_inline]] inline AxisTap axis_tap(const GridSampleArgs& args, Index size, F32 i, F32 weight) {
  const F32 zero = splat(0.0f), last = splat(static_cast<float>(size - 1));
  if (args.edge == GridEdge::zeros) {
    weight = select((i < zero) | (i > last), zero, weight);
  } else if (args.edge == GridEdge::reflection) {
    // a triangular wave, whose ends are the centres of the outermost elements, or their edges
    const float edge = args.align_corners ? 0.0f : 0.5f;
    const F32 range = splat(static_cast<float>(args.align_corners ? (size > 1 ? size - 1 : 1) : size));
    const F32 beyond = i + splat(edge), twice = range + range;
    const F32 rest = beyond - simd::floor(beyond / twice) * twice;
    i = min(rest, twice - rest) - splat(edge);
  }
  const I32 place = simd::nearest(clamp(i, zero, last));
  return {max(place, simd::splat(0)), weight};  // what is not a number would be below 0
}

// Keys' cubic with coefficient −0.75 at `d` from an element: 0 to 1, or 1 to 2.
[[gnu::always_inline]] inline F32 cubic_near(F32 d) {
  return fma(d * d, fma(d, splat(1.25f), splat(-2.25f)), splat(1.0f));
}
[[gnu::always_inline]] inline F32 cubic_far(F32 d) {
  return fma(d, fma(d, fma(d, splat(-0.75f), splat(3.75f)), splat(-6.0f)), splat(3.0f));
}

// The taps along one axis for coordinates `g` of −1 … 1.
[[gnu::always_inline]] inline void axis_taps(const GridSampleArgs& args, Index size, F32 g,
                                             AxisTap (&taps)[4]) {
  constexpr float kFar = 0x1p30f;  // farther away than any image reaches
  const auto length = static_cast<float>(size);
  const F32 slope = splat((args.align_corners ? length - 1 : length) / 2), centre = splat((length - 1) / 2);
  const F32 x = clamp(fma(g, slope, centre), splat(-kFar), splat(kFar)), one = splat(1.0f);
  if (args.mode == GridMode::nearest) {
    taps[0] = axis_tap(args, size, simd::round(x), one + (x - x));  // NaN stays NaN
    return;
  }
  const F32 below = simd::floor(x), rest = x - below;
  if (args.mode == GridMode::linear) {
    taps[0] = axis_tap(args, size, below, one - rest);
    taps[1] = axis_tap(args, size, below + one, rest);
    return;
  }
  taps[0] = axis_tap(args, size, below - one, cubic_far(rest + one));
  taps[1] = axis_tap(args, size, below, cubic_near(rest));
  taps[2] = axis_tap(args, size, below + one, cubic_near(one - rest));
  taps[3] = axis_tap(args, size, below + splat(2.0f), cubic_far(splat(2.0f) - rest));
}

// Those of `n` points, whose number is made whole vectors with points in the centre.
void grid_taps(const GridSampleArgs& args, const float* grid, Index n, GridTaps& taps) {
  float coordinates[3][kGridPiece];
  for (Index axis = 0; axis < args.axes; ++axis) {
    for (Index i = 0; i < kGridPiece; ++i)
      coordinates[axis][i] = i < n ? grid[i * args.axes + args.axes - 1 - axis] : 0.0f;
  }
  const Index along = taps_of(args.mode);
  for (Index i = 0; i < n; i += kBlock) {
    taps.count = 1;
    store(taps.weights[0] + i, splat(1.0f));
    simd::store(taps.places[0] + i, simd::splat(0));
    for (Index axis = 0; axis < args.axes; ++axis) {
      AxisTap found[4];
      axis_taps(args, args.sizes[axis], load(coordinates[axis] + i), found);
      for (Index before = taps.count; before-- > 0;) {  // from the last, whose place is not needed any more
        const F32 weight = load(taps.weights[before] + i);
        const I32 place = load(taps.places[before] + i) * static_cast<std::int32_t>(args.sizes[axis]);
        for (Index k = 0; k < along; ++k) {
          const simd::Condition<float, kBlock> none =
              (weight == splat(0.0f)) | (found[k].weight == splat(0.0f));
          store(taps.weights[before * along + k] + i, select(none, splat(0.0f), weight * found[k].weight));
          simd::store(taps.places[before * along + k] + i, place + found[k].place);
        }
      }
      taps.count *= along;
    }
  }
}

void sample_plain(const simd::Gather& gather, const GridTaps& taps, const float* x, Index n, float* y) {
  for (Index i = 0; i < n; i += kBlock) {
    F32 sums = splat(0.0f);
    for (Index k = 0; k < taps.count; ++k) {
      const F32 weight = load(taps.weights[k] + i),
                pixels = simd::bits_as<F32>(gather(x, load(taps.places[k] + i)));
      sums = fma(select(weight == splat(0.0f), splat(0.0f), pixels), weight, sums);
    }
    store_some(y + i, sums, n - i < kBlock ? n - i : kBlock);
  }
}

void sample_blocks(const GridTaps& taps, const float* x, Index n, float* y) {
  for (Index i = 0; i < n; ++i) {
    F32 sums = splat(0.0f);
    for (Index k = 0; k < taps.count; ++k) {
      const float weight = taps.weights[k][i];
      if (weight != 0.0f) sums = fma(load(x + taps.places[k][i] * kBlock), splat(weight), sums);
    }
    store(y + i * kBlock, sums);
  }
}

void sample(const GridSampleArgs& args, const float* src, const float* grid, float* dst, Index begin,
            Index end) {
  const simd::Gather gather(args.in_vectors, kBlock);
  const Index pieces = divide(args.points, kGridPiece);
  const Index pixels = args.sizes[0] * args.sizes[1] * args.sizes[2];
  GridTaps taps;
  for (Index item = begin; item < end; ++item) {
    const Index image = item / pieces, first = item % pieces * kGridPiece;
    const Index n = args.points - first < kGridPiece ? args.points - first : kGridPiece;
    grid_taps(args, grid + (image * args.points + first) * args.axes, n, taps);
    for (Index plane = image * args.planes; plane < (image + 1) * args.planes; ++plane) {
      const float* const x = src + plane * pixels * args.lanes;
      float* const y = dst + (plane * args.points + first) * args.lanes;
      if (args.lanes == 1) {
        sample_plain(gather, taps, x, n, y);
      } else {
        sample_blocks(taps, x, n, y);
      }
    }
  }
}

}  // namespace

namespace RDQUANT_KERNELS_ISA {
const GridSample grid_sample = {.block = kBlock, .sample = sample};
}
}  // namespace rdquant::runtime::kernels
