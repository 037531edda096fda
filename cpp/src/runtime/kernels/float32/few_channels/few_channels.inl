// Convolution of plain images of few channels into blocked ones.
#include "runtime/kernels/float32/epilogue.inl"
#include "runtime/kernels/float32/tables.hpp"
#include "runtime/kernels/tiles.inl"

namespace rdquant::runtime::kernels {
namespace {

constexpr Index kPatch = 6144;  // numbers of the image under one tile: channels, rows of the kernel, columns
constexpr Index kMostTaps = 1024;

// offsets[t]: from the tile's first number of the image to that under tap t.
template <int S, int P, int N>
void few_channels_tile(const ConvPlan& plan, const Epilogue& epilogue, const float* in, const Index* offsets,
                       const float* weights, const float* bias, float* dst, const float* residual, Index skip,
                       Index block) {
  const ConvShape& s = plan.shape;
  F32 sums[P][N];
  for_each<N>([&](auto n) __attribute__((always_inline)) {
    const F32 start = bias == nullptr ? splat(0.0f) : load(bias + (block + n) * kBlock);
    for_each<P>([&](auto p) __attribute__((always_inline)) { sums[p][n] = start; });
  });
  const Index count = s.c * s.kh * s.kw;
  for (Index t = 0; t < count; ++t, weights += N * kBlock) {
    const float* const x = in + offsets[t];
    F32 taps[N];
    for_each<N>([&](auto n) __attribute__((always_inline)) { taps[n] = load(weights + n * kBlock); });
    for_each<P>([&](auto p) __attribute__((always_inline)) {
      const F32 value = splat(x[p * S]);
      for_each<N>([&](auto n)
                      __attribute__((always_inline)) { sums[p][n] = fma(value, taps[n], sums[p][n]); });
    });
  }
  store_tile<P, N>(epilogue, sums, dst, residual, skip, block);
}

using FewChannelsTile = void (*)(const ConvPlan&, const Epilogue&, const float*, const Index*, const float*,
                                 const float*, float*, const float*, Index, Index);

template <int S, int N>
FewChannelsTile choose_few_channels(Index pixels) {
  return pick_tile(
      pixels, [](auto p) -> FewChannelsTile { return few_channels_tile<S, decltype(p)::value, N>; },
      typename TilePixels<N>::List{});
}

inline FewChannelsTile few_channels_tile_for(const ConvPlan& plan, Index blocks) {
  FewChannelsTile tile = nullptr;
  for_each<kTileBlocks>([&](auto n) {
    constexpr int kBlocks = decltype(n)::value + 1;
    if (blocks != kBlocks) return;
    tile = plan.shape.sw == 2 ? choose_few_channels<2, kBlocks>(plan.pixels)
                              : choose_few_channels<1, kBlocks>(plan.pixels);
  });
  return tile;
}

// One group, at most 4 channels, stride 1 or 2 along rows and a kernel of moderate size.
bool plan_few_channels(const ConvShape& s, ConvPlan& plan) {
  plan.shape = s;
  plan.method = ConvMethod::few_channels;
  plan.block = kBlock;
  const Index blocks = divide(s.k, kBlock);
  const TileChoice choice = choose_tile(s.ow(), blocks, cost_of_blocks(blocks, tile_cost));
  plan.blocks = choice.blocks;
  plan.pixels = choice.pixels;
  plan.tiles = divide(s.ow(), plan.pixels);
  const Index width = (plan.pixels - 1) * s.sw + (s.kw - 1) * s.dw + 1;
  if (s.groups != 1 || s.c > 4 || s.sw > 2 || s.c * s.kh * s.kw > kMostTaps || s.c * s.kh * width > kPatch)
    return false;
  plan.items = s.n * s.oh() * divide(blocks, plan.blocks);
  plan.pack_items = blocks;
  plan.weights = blocks * s.c * s.kh * s.kw * kBlock;
  return true;
}

// Packed: [tile's N blocks of filters][c][kh][kw][N][B].
void pack_few_channels(const ConvPlan& plan, const float* weights, float* packed, Index begin, Index end) {
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
  const Index begin = left < 0 ? (-left < width ? -left : width) : 0;
  const Index room = s.w - left < width ? s.w - left : width;
  const Index end = room > begin ? room : begin;
  std::memset(patch, 0, static_cast<std::size_t>(s.c * s.kh * width) * sizeof(float));
  for (Index c = 0; c < s.c; ++c) {
    for (Index ky = 0; ky < s.kh; ++ky, patch += width) {
      const Index y = top + ky * s.dh;
      if (y < 0 || y >= s.h) continue;
      std::memcpy(patch + begin, src + (c * s.h + y) * s.w + left + begin,
                  static_cast<std::size_t>(end - begin) * sizeof(float));
    }
  }
}

inline void tap_offsets(const ConvShape& s, Index channel, Index row, Index* offsets) {
  for (Index t = 0; t < s.c * s.kh * s.kw; ++t) {
    offsets[t] = t / (s.kh * s.kw) * channel + t / s.kw % s.kh * row + t % s.kw * s.dw;
  }
}

// What the rows of a convolution share. `plane`: floats between the blocks of the destination.
class FewChannelsRows {
 public:
  FewChannelsRows(const ConvPlan& plan, const ConvArgs& args, Index plane)
      : plan_(plan), args_(args), epilogue_(make_epilogue(plan.shape, args)) {
    const ConvShape& s = plan.shape;
    epilogue_.plane = plane;
    width_ = (plan.pixels - 1) * s.sw + (s.kw - 1) * s.dw + 1;
    tap_offsets(s, s.h * s.w, s.dh * s.w, in_image_);
    tap_offsets(s, s.kh * width_, width_, in_patch_);
  }

  // Row y of `image` for `blocks` blocks of filters from `block` on. dst and residual are at its first pixel.
  void run(Index image, Index block, Index blocks, Index y, float* dst, const float* residual) {
    const ConvShape& s = plan_.shape;
    const float* const src = args_.src + image * args_.src_image;
    const FewChannelsTile tile = few_channels_tile_for(plan_, blocks);
    const float* const weights = args_.weights + block * s.c * s.kh * s.kw * kBlock;
    const Index top = y * s.sh - s.top;
    const bool rows_inside = top >= 0 && top + (s.kh - 1) * s.dh < s.h;
    const Index last = s.ow() - plan_.pixels;
    for (Index t = 0; t < plan_.tiles; ++t) {
      const Index x = t * plan_.pixels < last ? t * plan_.pixels : last;
      const Index left = x * s.sw - s.left;
      const bool inside = rows_inside && left >= 0 && left + width_ <= s.w;
      if (!inside) copy_patch(s, src, top, left, width_, patch_);
      tile(plan_, epilogue_, inside ? src + top * s.w + left : patch_, inside ? in_image_ : in_patch_,
           weights, args_.bias, dst + x * kBlock, residual == nullptr ? nullptr : residual + x * kBlock,
           t * plan_.pixels - x, block);
    }
  }

 private:
  const ConvPlan& plan_;
  const ConvArgs& args_;
  Epilogue epilogue_;
  Index width_;
  float patch_[kPatch];
  Index in_image_[kMostTaps];
  Index in_patch_[kMostTaps];
};

// Items: image, row, group of output blocks.
void run_few_channels(const ConvPlan& plan, const ConvArgs& args, Index begin, Index end) {
  const Index blocks = divide(plan.shape.k, kBlock);
  const Index groups = divide(blocks, plan.blocks);
  const Index oh = plan.shape.oh();
  const Index row = plan.shape.ow() * kBlock;
  FewChannelsRows rows(plan, args, oh * row);
  for (Index item = begin; item < end; ++item) {
    const Index block = item % groups * plan.blocks;
    const Index y = item / groups % oh;
    const Index image = item / groups / oh;
    const Index at = (block * oh + y) * row;
    rows.run(image, block, plan.blocks < blocks - block ? plan.blocks : blocks - block, y,
             args.dst + image * args.dst_image + at,
             args.residual == nullptr ? nullptr : args.residual + image * args.residual_image + at);
  }
}

// The maximum of K × K floats; rows[i] is at the first of row i.
template <int K>
[[gnu::always_inline]] inline F32 max_of_square(const float* const (&rows)[kPooledRows], Index x) {
  const auto at = [&](auto i) __attribute__((always_inline)) {
    constexpr int kAt = decltype(i)::value;
    return load(rows[kAt / K] + x + kAt % K * kBlock);
  };
  simd::Maximum all;
  for_each<K * K / 2>([&](auto i) __attribute__((always_inline)) {
    constexpr int kAt = 2 * decltype(i)::value;
    all.see(at(std::integral_constant<int, kAt>{}), at(std::integral_constant<int, kAt + 1>{}));
  });
  if constexpr (K % 2 != 0) all.see(at(std::integral_constant<int, K * K - 1>{}));
  return all.get();
}

// Row y of maxima for one block. ring: the last p.kh rows of the convolution, row r in place r % p.kh.
template <int K>
void pool_ring(const PoolShape& p, const float* ring, float* dst, Index y) {
  const Index top = y * p.sh - p.top;
  const Span taken = taps_inside(top, p.kh, 1, p.h);
  const Index count = taken.end - taken.begin;
  const float* rows[kPooledRows] = {};
  for (Index i = 0; i < count; ++i) rows[i] = ring + (top + taken.begin + i) % p.kh * p.w * kBlock;
  for (Index x = 0; x < p.ow; ++x, dst += kBlock) {
    const Index left = x * p.sw - p.left;
    if (K > 0 && count == K && left >= 0 && left + K <= p.w) {
      store(dst, max_of_square<(K > 0 ? K : 1)>(rows, left * kBlock));
      continue;
    }
    const Span columns = taps_inside(left, p.kw, 1, p.w);
    const bool none = count == 0 || columns.begin == columns.end;
    simd::Maximum all;
    for (Index i = 0; i < count; ++i) {
      for (Index kx = columns.begin; kx < columns.end; ++kx) all.see(load(rows[i] + (left + kx) * kBlock));
    }
    store(dst, none ? splat(0.0f) : all.get());
  }
}

// Items: image, group of output blocks, row of maxima.
void run_few_channels_pooled(const ConvPlan& plan, const ConvArgs& args, const PoolShape& p, float* scratch,
                             Index begin, Index end) {
  const Index blocks = divide(plan.shape.k, kBlock);
  const Index groups = divide(blocks, plan.blocks);
  const Index row = p.w * kBlock;
  const auto pool =
      p.kh == 3 && p.kw == 3 ? pool_ring<3> : (p.kh == 2 && p.kw == 2 ? pool_ring<2> : pool_ring<0>);
  FewChannelsRows rows(plan, args, p.kh * row);
  Index ready = 0;  // rows of the convolution that were made, but for those skipped
  for (Index item = begin; item < end; ++item) {
    const Index y = item % p.oh;
    const Index block = item / p.oh % groups * plan.blocks;
    const Index image = item / p.oh / groups;
    const Index wide = plan.blocks < blocks - block ? plan.blocks : blocks - block;
    if (item == begin || y == 0) ready = 0;
    const Index first = y * p.sh - p.top;
    const Index last = first + p.kh < p.h ? first + p.kh : p.h;
    for (ready = first > ready ? first : ready; ready < last; ++ready)
      rows.run(image, block, wide, ready, scratch + ready % p.kh * row, nullptr);
    for (Index n = 0; n < wide; ++n) {
      pool(p, scratch + n * p.kh * row,
           args.dst + image * args.dst_image + ((block + n) * p.oh + y) * p.ow * kBlock, y);
    }
  }
}

}  // namespace

namespace RDQUANT_KERNELS_ISA {
const ConvolutionTable few_channels = {plan_few_channels, pack_few_channels, run_few_channels};
const decltype(Kernels::few_channels_pooled) few_channels_pooled = run_few_channels_pooled;
}  // namespace RDQUANT_KERNELS_ISA
}  // namespace rdquant::runtime::kernels
