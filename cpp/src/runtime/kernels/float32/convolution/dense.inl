// Convolution of blocked images, all channels of a group with all filters of it. Included inside an unnamed
// namespace.
//
// A tile is P pixels of one row (or of the whole image where it can be run as one row) times N blocks of
// filters, whose sums stay in registers. For each tap and each channel under it, N vectors of weights meet P
// numbers of the image.
#include "runtime/kernels/float32/epilogue.inl"
#include "runtime/kernels/float32/tables.hpp"
#include "runtime/kernels/tiles.inl"

namespace rdquant::runtime::kernels {
namespace {

// Sums for one tap and `lanes` channels: the pixels of the tile are S pixels apart, but for the first and the
// last, which may be zeros from the padding.
template <int S, int P, int N>
[[gnu::always_inline]] inline void dense_channel(const float* in, const float* first, const float* last,
                                                 const float* weights, F32 (&sums)[P][N]) {
  F32 taps[N];
  for_each<N>([&](auto n) __attribute__((always_inline)) { taps[n] = load(weights + n * kBlock); });
  for_each<P>([&](auto p) __attribute__((always_inline)) {
    constexpr int kPixel = decltype(p)::value;
    const F32 x = splat(kPixel == 0 ? *first : (kPixel == P - 1 ? *last : in[kPixel * S * kBlock]));
    for_each<N>([&](auto n) __attribute__((always_inline)) { sums[p][n] = fma(x, taps[n], sums[p][n]); });
  });
}

template <int S, int P, int N>
[[gnu::always_inline]] inline void dense_tap(const float* in, const float* first, const float* last,
                                             const float* weights, Index lanes, F32 (&sums)[P][N]) {
  constexpr int kUnroll = P * N <= 24 ? 2 : 1;
  Index c = 0;
  for (; c + kUnroll <= lanes; c += kUnroll, weights += kUnroll * N * kBlock) {
    for_each<kUnroll>([&](auto i) __attribute__((always_inline)) {
      dense_channel<S>(in + c + i, first + c + i, last + c + i, weights + i * N * kBlock, sums);
    });
  }
  if constexpr (kUnroll > 1) {
    for (; c < lanes; ++c, weights += N * kBlock)
      dense_channel<S>(in + c, first + c, last + c, weights, sums);
  }
}

// The same with pixels anywhere.
template <int P, int N>
[[gnu::always_inline]] inline void dense_tap(const float* const (&in)[P], const float* weights, Index lanes,
                                             F32 (&sums)[P][N]) {
  for (Index c = 0; c < lanes; ++c, weights += N * kBlock) {
    F32 taps[N];
    for_each<N>([&](auto n) __attribute__((always_inline)) { taps[n] = load(weights + n * kBlock); });
    for_each<P>([&](auto p) __attribute__((always_inline)) {
      const F32 x = splat(in[p][c]);
      for_each<N>([&](auto n) __attribute__((always_inline)) { sums[p][n] = fma(x, taps[n], sums[p][n]); });
    });
  }
}

// Sizes as the tile sees them: a flat plan is one row.
struct DenseView {
  Index h, w, kh, kw, sh, sw, dh, dw, top, left;
  Index begin, end;  // channels from the first of the group
};

// Where the tile is: its first row and column of the image, which may lie in the padding; the pixels not to
// store; its block of filters.
struct DenseCorner {
  Index row, column, skip, block;
};

// src is the first channel block of the group. S > 0: stride S, no pixel of the tile needs a column of the
// padding. S = 0: any.
template <int S, int P, int N>
void dense_tile(const DenseView& s, const Epilogue& epilogue, const float* src, const float* weights,
                const float* bias, float* dst, const float* residual, const DenseCorner& at) {
  F32 sums[P][N];
  for_each<N>([&](auto n) __attribute__((always_inline)) {
    const F32 start = bias == nullptr ? splat(0.0f) : load(bias + (at.block + n) * kBlock);
    for_each<P>([&](auto p) __attribute__((always_inline)) { sums[p][n] = start; });
  });
  for (Index channel = s.begin, next = channel; channel < s.end; channel = next) {
    const Index block = channel / kBlock, lane = channel % kBlock;
    next = (block + 1) * kBlock < s.end ? (block + 1) * kBlock : s.end;
    const Index lanes = next - channel;
    const float* const image = src + block * s.h * s.w * kBlock + lane;
    for (Index ky = 0; ky < s.kh; ++ky) {
      const Index row = at.row + ky * s.dh;
      if (row < 0 || row >= s.h) {
        weights += s.kw * lanes * N * kBlock;
        continue;
      }
      const float* in = image + (row * s.w + at.column) * kBlock;
      for (Index kx = 0; kx < s.kw; ++kx, in += s.dw * kBlock, weights += lanes * N * kBlock) {
        const Index x = at.column + kx * s.dw;
        const Index end = x + (P - 1) * s.sw;
        if (end < 0 || x >= s.w) continue;  // as most taps of long dilations
        if constexpr (S > 0) {
          dense_tap<S>(in, x >= 0 && x < s.w ? in : kZeros,
                       end >= 0 && end < s.w ? in + (P - 1) * S * kBlock : kZeros, weights, lanes, sums);
        } else {
          const float* pixels[P];
          for (Index p = 0; p < P; ++p) {
            const Index column = x + p * s.sw;
            pixels[p] = column >= 0 && column < s.w ? in + p * s.sw * kBlock : kZeros;
          }
          dense_tap(pixels, weights, lanes, sums);
        }
      }
    }
  }
  store_tile<P, N>(epilogue, sums, dst, residual, at.skip, at.block);
}

using DenseTile = void (*)(const DenseView&, const Epilogue&, const float*, const float*, const float*,
                           float*, const float*, const DenseCorner&);

template <int S, int N>
DenseTile choose_dense(Index pixels) {
  return pick_tile(
      pixels, [](auto p) -> DenseTile { return dense_tile<S, decltype(p)::value, N>; },
      typename TilePixels<N>::List{});
}

// By number of blocks (less one), and whether pixels within the tile may meet the padding.
struct DenseTiles {
  DenseTile tiles[kTileBlocks][2];
};

inline DenseTiles dense_tiles(const ConvPlan& plan) {
  DenseTiles all = {};
  for_each<kTileBlocks>([&](auto n) {
    constexpr int kBlocks = decltype(n)::value + 1;
    all.tiles[n][0] =
        plan.shape.sw == 1 ? choose_dense<1, kBlocks>(plan.pixels) : choose_dense<2, kBlocks>(plan.pixels);
    all.tiles[n][1] = choose_dense<0, kBlocks>(plan.pixels);
  });
  return all;
}

inline Index gcd(Index a, Index b) { return b == 0 ? a : gcd(b, a % b); }

// Groups whose channels do not fill blocks are run together, as one group whose weights between them are
// zero; the last of these may be smaller.
inline Index groups_together(const ConvShape& s) {
  if (s.groups == 1) return 1;
  const Index c = s.c / s.groups;
  const Index k = s.k / s.groups;
  const Index for_c = kBlock / gcd(c, kBlock);
  const Index for_k = kBlock / gcd(k, kBlock);
  const Index together = for_c > for_k ? for_c : for_k;  // powers of two
  return together < s.groups ? together : s.groups;
}

// Channels and filters of the groups that are run together, and of the last of them.
struct Bundle {
  Index c, k, last_c, last_k;
  explicit Bundle(const ConvShape& s) {
    const Index together = groups_together(s);
    const Index last = s.groups - (s.groups - 1) / together * together;
    c = s.c / s.groups * together;
    k = s.k / s.groups * together;
    last_c = s.c / s.groups * last;
    last_k = s.k / s.groups * last;
  }
};

// Channels of a bundle that its filters [first, last) see: those of their own groups.
struct Seen {
  Index begin, end;
};

inline Seen seen_by(const ConvShape& s, Index first, Index last) {
  const Index c = s.c / s.groups, k = s.k / s.groups;
  return {first / k * c, ((last - 1) / k + 1) * c};
}

// What tiles of N blocks by P pixels cost for all channels that each of them sees.
inline Index bundle_cost(const ConvShape& s, Index filters, Index n, Index pixels) {
  Index cost = 0;
  for (Index first = 0; first < filters; first += n * kBlock) {
    const Index last = first + n * kBlock < filters ? first + n * kBlock : filters;
    const Seen seen = seen_by(s, first, last);
    cost += (seen.end - seen.begin) * tile_cost(divide(last - first, kBlock), pixels);
  }
  return cost;
}

bool plan_dense(const ConvShape& s, ConvPlan& plan) {
  plan.shape = s;
  plan.method = ConvMethod::dense;
  plan.block = kBlock;
  plan.groups = divide(s.groups, groups_together(s));
  const Bundle bundle(s);
  const Index blocks = divide(bundle.k, kBlock);
  plan.flat = s.kh == 1 && s.kw == 1 && s.sh == 1 && s.sw == 1 && s.top == 0 && s.left == 0 &&
              s.bottom == 0 && s.right == 0;
  const Index row = plan.flat ? s.h * s.w : s.ow();
  const TileChoice choice =
      choose_tile(row, blocks, [&](Index n, Index pixels) { return bundle_cost(s, bundle.k, n, pixels); });
  plan.blocks = choice.blocks;
  plan.pixels = choice.pixels;
  plan.tiles = divide(row, plan.pixels);
  const Index weights = bundle.k * bundle.c * s.kh * s.kw;
  plan.filters_first = weights > (Index{1} << 18);
  plan.items = s.n * plan.groups * divide(blocks, plan.blocks) * plan.tiles * (plan.flat ? 1 : s.oh());
  plan.pack_items = plan.groups * blocks;
  plan.weights = plan.groups * blocks * kBlock * bundle.c * s.kh * s.kw;
  return true;
}

// Where the row of B weights for `channel` and `tap` goes, in rows from the first of its block of filters.
struct PackedRows {
  Seen seen;
  Index taps, wide;
  [[nodiscard]] Index operator()(Index channel, Index tap) const {
    const Index block = channel / kBlock * kBlock;
    const Index begin = block > seen.begin ? block : seen.begin;
    const Index end = block + kBlock < seen.end ? block + kBlock : seen.end;
    return ((begin - seen.begin) * taps + tap * (end - begin) + channel - begin) * wide;
  }
};

// One block of at most B filters, `filters` of them real, from plain [filter][channel][tap] to packed rows.
inline void pack_block(const float* weights, Index filters, const PackedRows& rows, float* out) {
  const Index length = rows.seen.end * rows.taps;
  Index channel = 0;
  Index tap = 0;
  for (Index i = 0; i < length; i += kBlock) {
    F32 square[kBlock];
    const Index count = length - i < kBlock ? length - i : kBlock;
    for (Index lane = 0; lane < kBlock; ++lane) {
      square[lane] = lane < filters ? load_some(weights + lane * length + i, count) : splat(0.0f);
    }
    transpose(square);
    for (Index j = 0; j < count; ++j) {
      store(out + rows(channel, tap) * kBlock, square[j]);
      if (++tap == rows.taps) {
        tap = 0;
        ++channel;
      }
    }
  }
}

// Weights of merged groups, whose first filter is `start` and which begin with block `first` of filters: zeros
// but where filter and channel belong to the same real group.
inline void pack_merged(const ConvShape& s, const float* weights, Index start, Index first, Index filters,
                        const PackedRows& rows, float* out) {
  const Index c = s.c / s.groups;
  const Index k = s.k / s.groups;
  for (Index channel = rows.seen.begin; channel < rows.seen.end; ++channel) {
    for (Index tap = 0; tap < rows.taps; ++tap) store(out + rows(channel, tap) * kBlock, splat(0.0f));
  }
  for (Index lane = 0; lane < filters; ++lane) {
    const Index own = (first + lane - start) / k * c;  // the filter's channels begin there
    const float* from = weights + (first + lane) * c * rows.taps;
    for (Index channel = own; channel < own + c; ++channel) {
      for (Index tap = 0; tap < rows.taps; ++tap) out[rows(channel, tap) * kBlock + lane] = *from++;
    }
  }
}

// Packed: [group][tile's N blocks of filters][channel block][kh][kw][channel of the block][N][B], with room for all
// channels of a bundle in every tile.
void pack_dense(const ConvPlan& plan, const float* weights, float* packed, Index begin, Index end) {
  const ConvShape& s = plan.shape;
  const Bundle bundle(s);
  const Index taps = s.kh * s.kw;
  const Index all = divide(bundle.k, kBlock);
  for (Index at = begin; at < end; ++at) {
    const Index group = at / all;
    const Index block = at % all;
    const Index c = group == plan.groups - 1 ? bundle.last_c : bundle.c;
    const Index k = group == plan.groups - 1 ? bundle.last_k : bundle.k;
    const Index blocks = divide(k, kBlock);
    if (block >= blocks) continue;
    const Index tile = block / plan.blocks * plan.blocks;
    const Index wide = plan.blocks < blocks - tile ? plan.blocks : blocks - tile;
    const Index filters = k - block * kBlock < kBlock ? k - block * kBlock : kBlock;
    const Index first = group * bundle.k + block * kBlock;
    float* const out = packed + (group * all * bundle.c + tile * c) * kBlock * taps + (block - tile) * kBlock;
    const Index past = (tile + wide) * kBlock < k ? (tile + wide) * kBlock : k;
    const PackedRows rows = {seen_by(s, tile * kBlock, past), taps, wide};
    if (plan.groups == s.groups) {
      pack_block(weights + first * c * taps, filters, rows, out);
    } else {
      pack_merged(s, weights, group * bundle.k, first, filters, rows, out);
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
  const Epilogue epilogue = make_epilogue(s, args);
  const Bundle bundle(s);
  const Index all = divide(bundle.k, kBlock);
  const Index ow = plan.flat ? s.h * s.w : s.ow();
  DenseView view = plan.flat ? DenseView{1, s.h * s.w, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0}
                             : DenseView{s.h, s.w, s.kh, s.kw, s.sh, s.sw, s.dh, s.dw, s.top, s.left, 0, 0};
  const DenseTiles tiles = dense_tiles(plan);
  const Index span =
      (plan.pixels - 2) * s.sw + (view.kw - 1) * s.dw;  // to the last column of the last but one
  for (Index item = begin; item < end; ++item) {
    const DensePlace at = dense_place(plan, item, divide(all, plan.blocks));
    const bool last_group = at.group == plan.groups - 1;
    const Index first = at.filters * plan.blocks;
    const Index blocks = last_group ? divide(bundle.last_k, kBlock) : all;
    if (first >= blocks) continue;
    const Index block = at.group * all + first;
    const Index channels = last_group ? bundle.last_c : bundle.c,
                filters = last_group ? bundle.last_k : bundle.k;
    const Index wide = plan.blocks < blocks - first ? plan.blocks : blocks - first;
    const Index past = (first + wide) * kBlock < filters ? (first + wide) * kBlock : filters;
    const Seen seen = seen_by(s, first * kBlock, past);
    view.begin = seen.begin;
    view.end = seen.end;
    const Index last = ow - plan.pixels;
    const Index x = at.tile * plan.pixels < last ? at.tile * plan.pixels : last;
    const DenseCorner corner = {at.y * s.sh - view.top, x * s.sw - view.left, at.tile * plan.pixels - x,
                                block};
    const bool inside =
        s.sw <= 2 && (plan.pixels <= 2 || (corner.column + s.sw >= 0 && corner.column + span < view.w));
    const Index out = block * epilogue.plane + (at.y * ow + x) * kBlock;
    tiles.tiles[wide - 1][inside ? 0 : 1](
        view, epilogue, args.src + at.image * args.src_image + at.group * bundle.c * s.h * s.w,
        args.weights + (at.group * all * bundle.c + first * channels) * kBlock * s.kh * s.kw, args.bias,
        args.dst + at.image * args.dst_image + out,
        args.residual == nullptr ? nullptr : args.residual + at.image * args.residual_image + out, corner);
  }
}

}  // namespace

namespace RDQUANT_KERNELS_ISA {
const ConvolutionTable dense = {plan_dense, pack_dense, run_dense};
}
}  // namespace rdquant::runtime::kernels
