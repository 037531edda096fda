// Depthwise convolution: one vector is one block of channels of one pixel. Included inside an unnamed
// namespace.
#include "runtime/kernels/float32/epilogue.inl"
#include "runtime/kernels/float32/tables.hpp"
#include "runtime/kernels/tiles.inl"

namespace rdquant::runtime::kernels {
namespace {

// One row of the output: its place in the image, and that of its input.
struct DepthwiseRow {
  const float* src;      // channel block
  const float* weights;  // of the channel block
  F32 bias;
  float* dst;  // first pixel of the row
  const float* residual;
  Index top;         // row of the image under the first tap; negative in the padding
  Index begin, end;  // rows of the kernel that meet the image
  Index block;
};

// P pixels, whose first tap lies over column `left`. K columns, stride S, no dilation, pads of at most K/2
// columns.
template <int K, int S, int P>
[[gnu::always_inline]] inline void depthwise_sums(const ConvShape& s, const DepthwiseRow& row, Index left,
                                                  F32 (&sums)[P][1]) {
  constexpr int kColumns = (P - 1) * S + K;
  constexpr int kEdge = K / 2;  // columns on either side that may lie in the padding
  const float* in = row.src + ((row.top + row.begin * s.dh) * s.w + left) * kBlock;
  const float* w = row.weights + row.begin * K * kBlock;
  for (Index ky = row.begin; ky < row.end; ++ky, in += s.dh * s.w * kBlock, w += K * kBlock) {
    F32 taps[K];
    for_each<K>([&](auto i) __attribute__((always_inline)) { taps[i] = load(w + i * kBlock); });
    for_each<kColumns>([&](auto column) __attribute__((always_inline)) {
      constexpr int kColumn = decltype(column)::value;
      const float* place = in + kColumn * kBlock;
      if constexpr (kColumn < kEdge || kColumn >= kColumns - kEdge) {
        place = left + kColumn >= 0 && left + kColumn < s.w ? place : kZeros;
      }
      const F32 x = load(place);
      for_each<K>([&](auto i) __attribute__((always_inline)) {
        constexpr int kOffset = kColumn - decltype(i)::value;
        if constexpr (kOffset >= 0 && kOffset % S == 0 && kOffset / S < P) {
          sums[kOffset / S][0] = fma(x, taps[i], sums[kOffset / S][0]);
        }
      });
    });
  }
}

// The same for any kernel.
template <int P>
inline void depthwise_sums_any(const ConvShape& s, const DepthwiseRow& row, Index left, F32 (&sums)[P][1]) {
  for (Index ky = row.begin; ky < row.end; ++ky) {
    const float* const in = row.src + ((row.top + ky * s.dh) * s.w + left) * kBlock;
    for (Index kx = 0; kx < s.kw; ++kx) {
      const F32 tap = load(row.weights + (ky * s.kw + kx) * kBlock);
      for_each<P>([&](auto p) __attribute__((always_inline)) {
        const Index column = kx * s.dw + p * s.sw;
        if (left + column < 0 || left + column >= s.w) return;
        sums[p][0] = fma(load(in + column * kBlock), tap, sums[p][0]);
      });
    }
  }
}

// K = 0: any kernel.
template <int K, int S, int P>
void depthwise_row(const ConvPlan& plan, const Epilogue& epilogue, const DepthwiseRow& row) {
  const ConvShape& s = plan.shape;
  const Index last = s.ow() - P;
  for (Index t = 0; t < plan.tiles; ++t) {
    const Index x = t * P < last ? t * P : last;
    F32 sums[P][1];
    for_each<P>([&](auto p) __attribute__((always_inline)) { sums[p][0] = row.bias; });
    if constexpr (K > 0) {
      const Index left = x * S - s.left;
      depthwise_sums<K, S>(s, row, left, sums);
    } else {
      depthwise_sums_any(s, row, x * s.sw - s.left, sums);
    }
    store_tile<P, 1>(epilogue, sums, row.dst + x * kBlock, row.residual + x * kBlock, t * P - x, row.block);
  }
}

using DepthwiseTile = void (*)(const ConvPlan&, const Epilogue&, const DepthwiseRow&);

using DepthwisePixels = Pixels<8, 7, 4, 1>;

// The number of pixels per tile with which a row costs least.
inline Index depthwise_pixels(Index width) {
  Index best = 1;
  for (const Index pixels : {4, 7, 8}) {
    if (pixels <= width && divide(width, pixels) * (pixels + 2) < divide(width, best) * (best + 2))
      best = pixels;
  }
  return best;
}

template <int K, int S>
DepthwiseTile choose_depthwise(Index pixels) {
  return pick_tile(
      pixels, [](auto p) -> DepthwiseTile { return depthwise_row<K, S, decltype(p)::value>; },
      DepthwisePixels{});
}

inline DepthwiseTile depthwise_tile_for(const ConvPlan& plan) {
  const ConvShape& s = plan.shape;
  // The columns between the edges of every tile lie in the image.
  const Index edge = s.kw / 2;
  const Index reach = (s.ow() - 1) * s.sw - s.left + s.kw - s.w;  // columns past the right border
  if (s.dw == 1 && s.left <= edge && reach <= edge && plan.pixels > 1) {
    if (s.kw == 3 && s.sw == 1) return choose_depthwise<3, 1>(plan.pixels);
    if (s.kw == 3 && s.sw == 2) return choose_depthwise<3, 2>(plan.pixels);
    if (s.kw == 5 && s.sw == 1) return choose_depthwise<5, 1>(plan.pixels);
    if (s.kw == 5 && s.sw == 2) return choose_depthwise<5, 2>(plan.pixels);
  }
  return choose_depthwise<0, 0>(plan.pixels);
}

bool plan_depthwise(const ConvShape& s, ConvPlan& plan) {
  if (s.groups != s.c || s.k != s.c) return false;
  plan.shape = s;
  plan.method = ConvMethod::depthwise;
  plan.block = kBlock;
  const Index blocks = divide(s.c, kBlock);
  plan.pixels = depthwise_pixels(s.ow());
  plan.tiles = divide(s.ow(), plan.pixels);
  plan.groups = blocks;
  plan.items = s.n * blocks * s.oh();
  plan.pack_items = blocks;
  plan.weights = blocks * s.kh * s.kw * kBlock;
  return true;
}

// Packed: [channel block][kh][kw][B].
void pack_depthwise(const ConvPlan& plan, const float* weights, float* packed, Index begin, Index end) {
  const Index taps = plan.shape.kh * plan.shape.kw;
  for (Index block = begin; block < end; ++block) {
    for (Index tap = 0; tap < taps; ++tap) {
      for (Index lane = 0; lane < kBlock; ++lane) {
        const Index channel = block * kBlock + lane;
        packed[(block * taps + tap) * kBlock + lane] =
            channel < plan.shape.c ? weights[channel * taps + tap] : 0.0f;
      }
    }
  }
}

// Items: image, channel block, row.
void run_depthwise(const ConvPlan& plan, const ConvArgs& args, Index begin, Index end) {
  const ConvShape& s = plan.shape;
  const Epilogue epilogue = make_epilogue(s, args);
  const DepthwiseTile tile = depthwise_tile_for(plan);
  const Index oh = s.oh();
  Index y = begin % oh;
  Index block = begin / oh % plan.groups;
  Index image = begin / oh / plan.groups;
  for (Index item = begin; item < end; ++item) {
    const Index at = block * epilogue.plane + y * s.ow() * kBlock;
    DepthwiseRow row = {};
    row.src = args.src + image * args.src_image + block * s.h * s.w * kBlock;
    row.weights = args.weights + block * s.kh * s.kw * kBlock;
    row.bias = args.bias == nullptr ? splat(0.0f) : load(args.bias + block * kBlock);
    row.dst = args.dst + image * args.dst_image + at;
    row.residual = args.residual == nullptr ? row.dst : args.residual + image * args.residual_image + at;
    row.top = y * s.sh - s.top;
    const Span taps = taps_inside(row.top, s.kh, s.dh, s.h);
    row.begin = taps.begin;
    row.end = taps.end;
    row.block = block;
    tile(plan, epilogue, row);
    if (++y == oh) {
      y = 0;
      if (++block == plan.groups) {
        block = 0;
        ++image;
      }
    }
  }
}

}  // namespace

namespace RDQUANT_KERNELS_ISA {
const ConvolutionTable depthwise = {plan_depthwise, pack_depthwise, run_depthwise};
}
}  // namespace rdquant::runtime::kernels
