// Convolution of blocked images, all channels of a group with all filters of it. Included inside an unnamed
// namespace.
//
// A tile is P pixels of one row (or of the whole image where it can be run as one row) times N blocks of
// filters, whose sums stay in registers. For each tap and each channel under it, N vectors of weights meet P
// numbers of the image.
#include "finish.inl"
#include "tables.hpp"
#include "tiles.inl"

namespace rdquant::runtime::kernels {
namespace {

// Where the pixels of a tile find their input for one tap. S > 0: at multiples of S pixels, known to the
// compiler.
template <int S, int P, int N>
[[gnu::always_inline]] inline void dense_tap(const float* in, const float* weights, Index lanes,
                                             Vec (&sums)[P][N]) {
  for (Index c = 0; c < lanes; ++c) {
    Vec taps[N];
    for_each<N>([&](auto n)
                    __attribute__((always_inline)) { taps[n] = load(weights + (c * N + n) * kBlock); });
    for_each<P>([&](auto p) __attribute__((always_inline)) {
      const Vec x = splat(in[p * S * kBlock + c]);
      for_each<N>([&](auto n) __attribute__((always_inline)) { sums[p][n] = fma(x, taps[n], sums[p][n]); });
    });
  }
}

template <int P, int N>
[[gnu::always_inline]] inline void dense_tap(const float* const (&in)[P], const float* weights, Index lanes,
                                             Vec (&sums)[P][N]) {
  for (Index c = 0; c < lanes; ++c) {
    Vec taps[N];
    for_each<N>([&](auto n)
                    __attribute__((always_inline)) { taps[n] = load(weights + (c * N + n) * kBlock); });
    for_each<P>([&](auto p) __attribute__((always_inline)) {
      const Vec x = splat(in[p][c]);
      for_each<N>([&](auto n) __attribute__((always_inline)) { sums[p][n] = fma(x, taps[n], sums[p][n]); });
    });
  }
}

alignas(64) constexpr float kZeros[kBlock] = {};

// Sizes as the tile sees them: a flat plan is one row.
struct DenseView {
  Index h, w, kh, kw, sh, sw, dh, dw, top, left;
  Index channels;  // of one group
};

// src is the first channel block of the group.
template <int S, int P, int N>
void dense_tile(const DenseView& s, const Finish& finish, const float* src, const float* weights,
                const float* bias, float* dst, const float* residual, Index y, Index x0, Index skip,
                Index block) {
  Vec sums[P][N];
  for_each<N>([&](auto n) __attribute__((always_inline)) {
    const Vec start = bias == nullptr ? splat(0.0f) : load(bias + (block + n) * kBlock);
    for_each<P>([&](auto p) __attribute__((always_inline)) { sums[p][n] = start; });
  });
  const Index left = x0 * s.sw - s.left;
  for (Index done = 0; done < s.channels; done += kBlock, src += s.h * s.w * kBlock) {
    const Index lanes = s.channels - done < kBlock ? s.channels - done : kBlock;
    for (Index ky = 0; ky < s.kh; ++ky) {
      const Index row = y * s.sh - s.top + ky * s.dh;
      if (row < 0 || row >= s.h) {
        weights += s.kw * lanes * N * kBlock;
        continue;
      }
      for (Index kx = 0; kx < s.kw; ++kx, weights += lanes * N * kBlock) {
        const Index column = left + kx * s.dw;
        const float* const in = src + (row * s.w + column) * kBlock;
        if (s.sw == S && column >= 0 && column + (P - 1) * s.sw < s.w) {
          dense_tap<S>(in, weights, lanes, sums);
          continue;
        }
        const float* pixels[P];
        for_each<P>([&](auto p) __attribute__((always_inline)) {
          const Index x = column + p * s.sw;
          pixels[p] = x >= 0 && x < s.w ? in + p * s.sw * kBlock : kZeros;
        });
        dense_tap(pixels, weights, lanes, sums);
      }
    }
  }
  finish_tile<P, N>(finish, sums, dst, residual, skip, block);
}

using DenseTile = void (*)(const DenseView&, const Finish&, const float*, const float*, const float*, float*,
                           const float*, Index, Index, Index, Index);

template <int S, int N>
DenseTile choose_dense(Index pixels) {
  return pick_tile(
      pixels, [](auto p) -> DenseTile { return dense_tile<S, decltype(p)::value, N>; },
      typename TilePixels<N>::List{});
}

inline DenseTile dense_tile_for(const ConvPlan& plan, Index blocks) {
  if constexpr (kTileBlocks >= 2) {
    if (blocks == 2)
      return plan.shape.sw == 1 ? choose_dense<1, 2>(plan.pixels) : choose_dense<2, 2>(plan.pixels);
  }
  return plan.shape.sw == 1 ? choose_dense<1, 1>(plan.pixels) : choose_dense<2, 1>(plan.pixels);
}

inline Index gcd(Index a, Index b) { return b == 0 ? a : gcd(b, a % b); }

// Groups whose channels do not fill blocks are run together, as one group whose weights between them are
// zero.
inline Index merged_groups(const ConvShape& s) {
  const Index c = s.c / s.groups;
  const Index k = s.k / s.groups;
  const Index for_c = kBlock / gcd(c, kBlock);
  const Index for_k = kBlock / gcd(k, kBlock);
  const Index together = for_c > for_k ? for_c : for_k;  // powers of two
  return s.groups % together == 0 ? s.groups / together : 1;
}

ConvPlan plan_dense(const ConvShape& s) {
  ConvPlan plan;
  plan.shape = s;
  plan.method = ConvMethod::dense;
  plan.block = kBlock;
  plan.groups = s.groups == 1 ? 1 : merged_groups(s);
  const Index blocks = divide(s.k / plan.groups, kBlock);
  plan.flat = s.kh == 1 && s.kw == 1 && s.sh == 1 && s.sw == 1 && s.top == 0 && s.left == 0 &&
              s.bottom == 0 && s.right == 0;
  const Index row = plan.flat ? s.h * s.w : s.ow();
  plan.blocks = blocks < kTileBlocks ? blocks : kTileBlocks;
  plan.pixels = choose_pixels(row, TilePixels<kTileBlocks>::List{});
  plan.tiles = divide(row, plan.pixels);
  const Index weights = s.k / plan.groups * (s.c / plan.groups) * s.kh * s.kw;
  plan.filters_first = weights > s.c * s.h * s.w;
  plan.items = s.n * plan.groups * divide(blocks, plan.blocks) * plan.tiles * (plan.flat ? 1 : s.oh());
  plan.pack_items = plan.groups * blocks;
  plan.weights = plan.groups * blocks * kBlock * (s.c / plan.groups) * s.kh * s.kw;
  return plan;
}

// Packed: [group][tile's N blocks of filters][channel block][kh][kw][channel of the block][N][B].
void pack_dense(const ConvPlan& plan, const float* weights, float* packed, Index begin, Index end) {
  const ConvShape& s = plan.shape;
  const Index c = s.c / plan.groups;  // of a merged group
  const Index k = s.k / plan.groups;
  const Index real_c = s.c / s.groups;
  const Index real_k = s.k / s.groups;
  const Index taps = s.kh * s.kw;
  const Index blocks = divide(k, kBlock);
  for (Index at = begin; at < end; ++at) {
    const Index group = at / blocks;
    const Index block = at % blocks;
    const Index tile = block / plan.blocks * plan.blocks;
    const Index wide = plan.blocks < blocks - tile ? plan.blocks : blocks - tile;
    float* const out = packed + (group * blocks + tile) * kBlock * c * taps + (block - tile) * kBlock;
    for (Index channel = 0; channel < c; ++channel) {
      const Index whole = channel / kBlock * kBlock;
      const Index lanes = c - whole < kBlock ? c - whole : kBlock;
      for (Index tap = 0; tap < taps; ++tap) {
        float* const row = out + (whole * taps + tap * lanes + channel - whole) * wide * kBlock;
        for (Index lane = 0; lane < kBlock; ++lane) {
          const Index filter = block * kBlock + lane;
          const bool real = filter < k && filter / real_k == channel / real_c;
          row[lane] = real ? weights[((group * k + filter) * real_c + channel % real_c) * taps + tap] : 0.0f;
        }
      }
    }
  }
}

struct DensePlace {
  Index image, group, filters, y, tile;
};

inline DensePlace dense_place(const ConvPlan& plan, Index item, Index tiles_of_filters) {
  const Index rows = plan.flat ? 1 : plan.shape.oh();
  const Index places = rows * plan.tiles;
  DensePlace at = {};
  Index place = 0;
  if (plan.filters_first) {
    place = item % places;
    at.filters = item / places % tiles_of_filters;
  } else {
    at.filters = item % tiles_of_filters;
    place = item / tiles_of_filters % places;
  }
  const Index rest = item / places / tiles_of_filters;
  at.group = rest % plan.groups;
  at.image = rest / plan.groups;
  at.y = place / plan.tiles;
  at.tile = place % plan.tiles;
  return at;
}

// Items: image, group, then filters and place in the order that the plan says.
void run_dense(const ConvPlan& plan, const ConvArgs& args, Index begin, Index end) {
  const ConvShape& s = plan.shape;
  const Finish finish = make_finish(s, args);
  const Index c = s.c / plan.groups;
  const Index blocks = divide(s.k / plan.groups, kBlock);
  const Index ow = plan.flat ? s.h * s.w : s.ow();
  const DenseView view = plan.flat
                             ? DenseView{1, s.h * s.w, 1, 1, 1, 1, 1, 1, 0, 0, c}
                             : DenseView{s.h, s.w, s.kh, s.kw, s.sh, s.sw, s.dh, s.dw, s.top, s.left, c};
  for (Index item = begin; item < end; ++item) {
    const DensePlace at = dense_place(plan, item, divide(blocks, plan.blocks));
    const Index first = at.filters * plan.blocks;
    const Index block = at.group * blocks + first;
    const DenseTile tile = dense_tile_for(plan, plan.blocks < blocks - first ? plan.blocks : blocks - first);
    const Index last = ow - plan.pixels;
    const Index x = at.tile * plan.pixels < last ? at.tile * plan.pixels : last;
    const Index out = block * finish.plane + (at.y * ow + x) * kBlock;
    tile(view, finish, args.src + at.image * args.src_image + at.group * c * s.h * s.w,
         args.weights + block * kBlock * c * s.kh * s.kw, args.bias,
         args.dst + at.image * args.dst_image + out,
         args.residual == nullptr ? nullptr : args.residual + at.image * args.residual_image + out, at.y, x,
         at.tile * plan.pixels - x, block);
  }
}

}  // namespace

namespace RDQUANT_KERNELS_ISA {
const ConvolutionTable dense = {plan_dense, pack_dense, run_dense};
}
}  // namespace rdquant::runtime::kernels
