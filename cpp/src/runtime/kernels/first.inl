// Convolution of plain images of few channels into blocked ones.
#include "finish.inl"
#include "tables.hpp"
#include "tiles.inl"

namespace rdquant::runtime::kernels {
namespace {

constexpr Index kFirstRows = 64;   // channels times rows of the kernel
constexpr Index kFirstWidth = 96;  // columns of the image under one tile

// Rows of the image under one tile: row (c, ky) is at `data + (c·channel + ky·row)`.
struct FirstPatch {
  const float* data;
  Index channel, row;
};

template <int S, int P, int N>
void first_tile(const ConvPlan& plan, const Finish& finish, const FirstPatch& patch, const float* weights,
                const float* bias, float* dst, const float* residual, Index skip, Index block) {
  const ConvShape& s = plan.shape;
  Vec sums[P][N];
  for_each<N>([&](auto n) __attribute__((always_inline)) {
    const Vec start = bias == nullptr ? splat(0.0f) : load(bias + (block + n) * kBlock);
    for_each<P>([&](auto p) __attribute__((always_inline)) { sums[p][n] = start; });
  });
  for (Index c = 0; c < s.c; ++c) {
    for (Index ky = 0; ky < s.kh; ++ky) {
      const float* in = patch.data + c * patch.channel + ky * patch.row;
      for (Index kx = 0; kx < s.kw; ++kx, in += s.dw, weights += N * kBlock) {
        Vec taps[N];
        for_each<N>([&](auto n) __attribute__((always_inline)) { taps[n] = load(weights + n * kBlock); });
        const Index step = S == 1 ? 1 : s.sw;
        for_each<P>([&](auto p) __attribute__((always_inline)) {
          const Vec x = splat(in[p * step]);
          for_each<N>([&](auto n)
                          __attribute__((always_inline)) { sums[p][n] = fma(x, taps[n], sums[p][n]); });
        });
      }
    }
  }
  finish_tile<P, N>(finish, sums, dst, residual, skip, block);
}

using FirstTile = void (*)(const ConvPlan&, const Finish&, const FirstPatch&, const float*, const float*,
                           float*, const float*, Index, Index);

template <int S, int N>
FirstTile choose_first(Index pixels) {
  return pick_tile(
      pixels, [](auto p) -> FirstTile { return first_tile<S, decltype(p)::value, N>; },
      typename TilePixels<N>::List{});
}

inline FirstTile first_tile_for(const ConvPlan& plan, Index blocks) {
  if constexpr (kTileBlocks >= 2) {
    if (blocks == 2)
      return plan.shape.sw == 1 ? choose_first<1, 2>(plan.pixels) : choose_first<2, 2>(plan.pixels);
  }
  return plan.shape.sw == 1 ? choose_first<1, 1>(plan.pixels) : choose_first<2, 1>(plan.pixels);
}

ConvPlan plan_first(const ConvShape& s) {
  ConvPlan plan;
  plan.shape = s;
  plan.method = ConvMethod::first;
  plan.block = kBlock;
  const Index blocks = divide(s.k, kBlock);
  plan.blocks = blocks < kTileBlocks ? blocks : kTileBlocks;
  plan.pixels = choose_pixels(s.ow(), TilePixels<kTileBlocks>::List{});
  plan.tiles = divide(s.ow(), plan.pixels);
  const Index width = (plan.pixels - 1) * s.sw + (s.kw - 1) * s.dw + 1;
  if (s.groups != 1 || s.c > 4 || s.c * s.kh > kFirstRows || width > kFirstWidth) {
    throw core::Unsupported("first: needs one group, at most 4 channels and a kernel of moderate size");
  }
  plan.items = s.n * s.oh() * divide(blocks, plan.blocks);
  plan.pack_items = blocks;
  plan.weights = blocks * s.c * s.kh * s.kw * kBlock;
  return plan;
}

// Packed: [tile's N blocks of filters][c][kh][kw][N][B].
void pack_first(const ConvPlan& plan, const float* weights, float* packed, Index begin, Index end) {
  const ConvShape& s = plan.shape;
  const Index taps = s.c * s.kh * s.kw;
  const Index blocks = divide(s.k, kBlock);
  for (Index block = begin; block < end; ++block) {
    const Index tile = block / plan.blocks * plan.blocks;
    const Index wide = plan.blocks < blocks - tile ? plan.blocks : blocks - tile;
    float* const out = packed + tile * kBlock * taps + (block - tile) * kBlock;
    for (Index tap = 0; tap < taps; ++tap) {
      for (Index lane = 0; lane < kBlock; ++lane) {
        const Index filter = block * kBlock + lane;
        out[tap * wide * kBlock + lane] = filter < s.k ? weights[filter * taps + tap] : 0.0f;
      }
    }
  }
}

// The image under a tile at the image's border, with zeros around it.
inline void copy_patch(const ConvShape& s, const float* src, Index top, Index left, Index width,
                       float* patch) {
  for (Index c = 0; c < s.c; ++c) {
    for (Index ky = 0; ky < s.kh; ++ky, patch += width) {
      const Index y = top + ky * s.dh;
      const bool row_inside = y >= 0 && y < s.h;
      const float* const in = src + (c * s.h + y) * s.w + left;
      for (Index x = 0; x < width; ++x) {
        patch[x] = row_inside && left + x >= 0 && left + x < s.w ? in[x] : 0.0f;
      }
    }
  }
}

// Items: image, row, group of output blocks.
void run_first(const ConvPlan& plan, const ConvArgs& args, Index begin, Index end) {
  const ConvShape& s = plan.shape;
  const Finish finish = make_finish(s, args);
  const Index blocks = divide(s.k, kBlock);
  const Index groups = divide(blocks, plan.blocks);
  const Index oh = s.oh();
  const Index ow = s.ow();
  const Index width = (plan.pixels - 1) * s.sw + (s.kw - 1) * s.dw + 1;
  float patch[kFirstRows * kFirstWidth];
  for (Index item = begin; item < end; ++item) {
    const Index block = item % groups * plan.blocks;
    const Index y = item / groups % oh;
    const Index image = item / groups / oh;
    const float* const src = args.src + image * args.src_image;
    const FirstTile tile = first_tile_for(plan, plan.blocks < blocks - block ? plan.blocks : blocks - block);
    const float* const weights = args.weights + block * s.c * s.kh * s.kw * kBlock;
    const Index top = y * s.sh - s.top;
    const bool rows_inside = top >= 0 && top + (s.kh - 1) * s.dh < s.h;
    for (Index t = 0; t < plan.tiles; ++t) {
      const Index last = ow - plan.pixels;
      const Index x = t * plan.pixels < last ? t * plan.pixels : last;
      const Index left = x * s.sw - s.left;
      FirstPatch rows = {src + top * s.w + left, s.h * s.w, s.dh * s.w};
      if (!rows_inside || left < 0 || left + width > s.w) {
        copy_patch(s, src, top, left, width, patch);
        rows = {patch, s.kh * width, width};
      }
      const Index at = block * finish.plane + (y * ow + x) * kBlock;
      tile(plan, finish, rows, weights, args.bias, args.dst + image * args.dst_image + at,
           args.residual == nullptr ? nullptr : args.residual + image * args.residual_image + at,
           t * plan.pixels - x, block);
    }
  }
}

}  // namespace

namespace RDQUANT_KERNELS_ISA {
const ConvolutionTable first = {plan_first, pack_first, run_first};
}
}  // namespace rdquant::runtime::kernels
