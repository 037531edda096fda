// Convolution of levels, all channels of a group with all filters of it.
//
// A tile is P pixels of one row (or of the whole image where it can be run as one row) times N blocks of
// filters, whose sums stay in registers. For each tap and each four channels under it, N blocks' weights meet
// the four bytes of P pixels. Channels go in chunks, so that a pixel of the padding has an end.
//
// Packed: sums of weights, [block][kh][B] int32; then levels, [group][tile's N blocks][chunk][kh][kw][four
// channels][N][B][4].
#pragma once

#include "integer_finish.inl"
#include "integer_tiles.inl"

namespace rdquant::runtime::kernels {
namespace {

constexpr Index kChunk = 1024;  // fours of channels

// Sizes as the tile sees them: a flat plan is one row.
struct IntegerView {
  Index h, w, kh, kw, sh, sw, dh, dw, top, left;
  Index pixel;                // bytes
  Index fours;                // of channels of one group
  std::int32_t zero;          // of the source, taken as uint8
  bool joined;                // the taps of a row lie side by side, and so do their weights
  const std::uint8_t* zeros;  // a pixel of the padding, of one chunk
};

// Where the tile is: its first row and column of the image, which may lie in the padding.
struct IntegerCorner {
  Index row, column;
  const std::uint8_t* src;  // first channel of the group
  const std::int8_t* weights;
  const std::int32_t* weight_sums;  // of the tile's first block
  bool inside;                      // no pixel of the tile needs a column of the padding
};

// Sums over `fours` times four channels of pixels `step` bytes apart.
template <bool Signed, int P, int N>
[[gnu::always_inline]] inline const std::int8_t* dense_fours(const std::uint8_t* in, Index step, Index fours,
                                                             const std::int8_t* weights, Ints (&sums)[P][N]) {
  // Three pixels, and the first of the next three, are within reach of one address.
  constexpr int kBases = (P + 2) / 3;
  const std::uint8_t* bases[kBases];
  for_each<kBases>([&](auto i) __attribute__((always_inline)) { bases[i] = in + 3 * i * step; });
  for (Index c = 0; c < fours; ++c, weights += N * kTapBytes) {
    Taps taps[N];
    for_each<N>([&](auto n) __attribute__((always_inline)) { taps[n] = load_taps(weights + n * kTapBytes); });
    for_each<P>([&](auto p) __attribute__((always_inline)) {
      constexpr int kPixel = decltype(p)::value;
      const Fours x = broadcast<Signed>(bases[kPixel / 3] + kPixel % 3 * step);
      for_each<N>([&](auto n) __attribute__((always_inline)) { sums[p][n] = dot(x, taps[n], sums[p][n]); });
    });
    for_each<kBases>([&](auto i) __attribute__((always_inline)) { bases[i] += 4; });
  }
  return weights;
}

// The same with pixels anywhere.
template <bool Signed, int P, int N>
[[gnu::always_inline]] inline const std::int8_t* dense_fours(const std::uint8_t* const (&in)[P], Index fours,
                                                             const std::int8_t* weights, Ints (&sums)[P][N]) {
  for (Index c = 0; c < 4 * fours; c += 4, weights += N * kTapBytes) {
    Taps taps[N];
    for_each<N>([&](auto n) __attribute__((always_inline)) { taps[n] = load_taps(weights + n * kTapBytes); });
    for_each<P>([&](auto p) __attribute__((always_inline)) {
      const Fours x = broadcast<Signed>(in[p] + c);
      for_each<N>([&](auto n) __attribute__((always_inline)) { sums[p][n] = dot(x, taps[n], sums[p][n]); });
    });
  }
  return weights;
}

// Bias less what the source's zero adds: rows of the kernel in the padding are left out, columns are not.
inline Ints dense_start(const IntegerView& s, const IntegerFinisher& finisher, const IntegerCorner& at,
                        Index n, Index block) {
  const std::int32_t* const bias = finisher.args->bias;
  Ints start = bias == nullptr ? splat(0) : load(bias + block * kBlock);
  if (s.zero == 0) return start;
  const Span rows = taps_inside(at.row, s.kh, s.dh, s.h);
  Ints total = splat(0);
  for (Index ky = rows.begin; ky < rows.end; ++ky)
    total = total + load(at.weight_sums + (n * s.kh + ky) * kBlock);
  return start - total * splat(s.zero);
}

// All taps of a tile.
template <bool Signed, int P, int N>
[[gnu::always_inline]] inline void dense_sums(const IntegerView& s, const IntegerCorner& at,
                                              Ints (&sums)[P][N]) {
  const std::int8_t* weights = at.weights;
  for (Index done = 0; done < s.fours; done += kChunk) {
    const Index fours = s.fours - done < kChunk ? s.fours - done : kChunk;
    for (Index ky = 0; ky < s.kh; ++ky) {
      const Index row = at.row + ky * s.dh;
      if (row < 0 || row >= s.h) {
        weights += s.kw * fours * N * kTapBytes;
        continue;
      }
      const std::uint8_t* in = at.src + (row * s.w + at.column) * s.pixel + 4 * done;
      if (at.inside) {
        const Index runs = s.joined ? 1 : s.kw;
        const Index length = s.joined ? fours * s.kw : fours;
        for (Index kx = 0; kx < runs; ++kx, in += s.dw * s.pixel) {
          weights = dense_fours<Signed>(in, s.sw * s.pixel, length, weights, sums);
        }
        continue;
      }
      for (Index kx = 0; kx < s.kw; ++kx, in += s.dw * s.pixel) {
        const std::uint8_t* pixels[P];
        for (Index p = 0, x = at.column + kx * s.dw; p < P; ++p, x += s.sw) {
          pixels[p] = x >= 0 && x < s.w ? in + p * s.sw * s.pixel : s.zeros;
        }
        weights = dense_fours<Signed>(pixels, fours, weights, sums);
      }
    }
  }
}

template <int P, int N>
void dense_tile(const IntegerView& s, const IntegerFinisher& finisher, const IntegerCorner& at,
                const TilePlace& place) {
  Ints sums[P][N];
  for_each<N>([&](auto n) __attribute__((always_inline)) {
    const Ints start = dense_start(s, finisher, at, n, place.block + n);
    for_each<P>([&](auto p) __attribute__((always_inline)) { sums[p][n] = start; });
  });
  if (finisher.args->src_signed) {
    dense_sums<true>(s, at, sums);
  } else {
    dense_sums<false>(s, at, sums);
  }
  finish_tile<P, N>(finisher, sums, place);
}

using IntegerTile = void (*)(const IntegerView&, const IntegerFinisher&, const IntegerCorner&,
                             const TilePlace&);

// By number of blocks (less one).
struct IntegerTiles {
  IntegerTile tiles[kIntegerBlocks];
};

inline IntegerTiles integer_tiles(Index pixels) {
  IntegerTiles all = {};
  for_each<kIntegerBlocks>([&](auto n) {
    constexpr int kBlocks = decltype(n)::value + 1;
    all.tiles[n] = pick_tile(
        pixels, [](auto p) -> IntegerTile { return dense_tile<decltype(p)::value, kBlocks>; },
        typename IntegerPixels<kBlocks>::List{});
  });
  return all;
}

inline Index common_divisor(Index a, Index b) { return b == 0 ? a : common_divisor(b, a % b); }

// Bytes of the sums of `blocks` blocks' weights; what follows is aligned.
inline Index sums_bytes(Index blocks, Index kh) { return divide(blocks * kBlock * kh * 4, 64) * 64; }

IntegerPlan plan_dense(const ConvShape& s) {
  IntegerPlan plan;
  plan.shape = s;
  // Groups whose filters do not fill blocks are run together, with weights of zero between them.
  const Index together = kBlock / common_divisor(s.k / s.groups, kBlock);
  plan.groups = s.groups == 1 || s.groups % together != 0 ? 1 : s.groups / together;
  const Index blocks = divide(s.k / plan.groups, kBlock);
  plan.flat = s.kh == 1 && s.kw == 1 && s.sh == 1 && s.sw == 1 && s.top == 0 && s.left == 0 &&
              s.bottom == 0 && s.right == 0;
  const Index row = plan.flat ? s.h * s.w : s.ow();
  const TileChoice choice = choose_tile<IntegerPixels, kIntegerBlocks>(row, blocks);
  plan.blocks = choice.blocks;
  plan.pixels = choice.pixels;
  plan.tiles = divide(row, plan.pixels);
  const Index fours = divide(s.c / plan.groups, 4);
  const Index weights = plan.groups * blocks * s.kh * s.kw * fours * kTapBytes;
  plan.filters_first = weights / plan.groups > (Index{1} << 19);
  plan.items = s.n * plan.groups * divide(blocks, plan.blocks) * plan.tiles * (plan.flat ? 1 : s.oh());
  plan.pack_items = plan.groups * blocks;
  plan.bytes = sums_bytes(plan.groups * blocks, s.kh) + weights;
  return plan;
}

// One block of filters, those from `first` on that are below `end`.
struct DenseBlock {
  Index first, end, channel;  // `channel`: the first of the group's
  Index fours, wide;
  std::int8_t* out;
  std::int32_t* sums;
};

void pack_dense_block(const ConvShape& s, const std::int8_t* weights, const DenseBlock& block) {
  const Index c = s.c / s.groups;
  const Index k = s.k / s.groups;
  const Index taps = s.kh * s.kw;
  for (Index i = 0; i < s.kh * kBlock; ++i) block.sums[i] = 0;
  for (Index four = 0; four < block.fours; ++four) {
    const Index chunk = four / kChunk * kChunk;
    const Index length = block.fours - chunk < kChunk ? block.fours - chunk : kChunk;
    for (Index tap = 0; tap < taps; ++tap) {
      std::int8_t* const out =
          block.out + (chunk * taps + tap * length + four - chunk) * block.wide * kTapBytes;
      for (Index lane = 0; lane < kBlock; ++lane) {
        const Index filter = block.first + lane;
        const Index own = filter / k * c - block.channel;  // the filter's own channels begin there
        for (Index i = 0; i < 4; ++i) {
          const Index channel = 4 * four + i - own;
          const bool real = filter < block.end && channel >= 0 && channel < c;
          const std::int8_t w = real ? weights[(filter * c + channel) * taps + tap] : std::int8_t{0};
          out[tap_place(lane, i)] = w;
          block.sums[tap / s.kw * kBlock + lane] += w;
        }
      }
    }
  }
}

void pack_dense(const IntegerPlan& plan, const std::int8_t* weights, std::byte* packed, Index begin,
                Index end) {
  const ConvShape& s = plan.shape;
  const Index c = s.c / plan.groups;
  const Index k = s.k / plan.groups;
  const Index fours = divide(c, 4);
  const Index blocks = divide(k, kBlock);
  const Index block_bytes = s.kh * s.kw * fours * kTapBytes;
  auto* const sums = reinterpret_cast<std::int32_t*>(packed);
  auto* const levels = reinterpret_cast<std::int8_t*>(packed + sums_bytes(plan.groups * blocks, s.kh));
  for (Index at = begin; at < end; ++at) {
    const Index group = at / blocks;
    const Index block = at % blocks;
    const Index tile = block / plan.blocks * plan.blocks;
    const Index wide = plan.blocks < blocks - tile ? plan.blocks : blocks - tile;
    std::int8_t* const out = levels + (group * blocks + tile) * block_bytes + (block - tile) * kTapBytes;
    pack_dense_block(s, weights,
                     {group * k + block * kBlock, (group + 1) * k, group * c, fours, wide, out,
                      sums + at * s.kh * kBlock});
  }
}

struct IntegerItem {
  Index image, group, filters, y, tile;
};

// Items: image, group, then filters and place in the order that the plan says.
inline IntegerItem integer_item(const IntegerPlan& plan, Index item, Index tiles_of_filters) {
  const Index places = (plan.flat ? 1 : plan.shape.oh()) * plan.tiles;
  const Index inner = item % (places * tiles_of_filters);
  const Index rest = item / (places * tiles_of_filters);
  const Index place = plan.filters_first ? inner % places : inner / tiles_of_filters;
  const Index filters = plan.filters_first ? inner / places : inner % tiles_of_filters;
  return {rest / plan.groups, rest % plan.groups, filters, place / plan.tiles, place % plan.tiles};
}

// Fills `zeros` for a plan that needs it.
inline IntegerView dense_view(const IntegerPlan& plan, const IntegerConvArgs& args, std::uint8_t* zeros) {
  const ConvShape& s = plan.shape;
  const Index fours = divide(s.c / plan.groups, 4);
  const std::int32_t zero = args.src_zero + (args.src_signed ? 128 : 0);
  IntegerView view = {s.h,   s.w,    s.kh,           s.kw,  s.sh, s.sw,  s.dh, s.dw,
                      s.top, s.left, args.src_pixel, fours, zero, false, zeros};
  if (plan.flat) {
    view.w = s.h * s.w;
    view.h = 1;
  }
  view.joined = s.dw == 1 && plan.groups == 1 && args.src_pixel == 4 * fours && fours <= kChunk;
  const Index last = (s.ow() - 1) * s.sw - s.left + (s.kw - 1) * s.dw;
  if (s.left > 0 || last >= s.w) {
    const Index length = 4 * (fours < kChunk ? fours : kChunk);
    std::memset(zeros, static_cast<std::uint8_t>(args.src_zero), static_cast<std::size_t>(length));
  }
  return view;
}

void run_dense(const IntegerPlan& plan, const IntegerConvArgs& args, Index begin, Index end) {
  const ConvShape& s = plan.shape;
  alignas(64) std::uint8_t zeros[4 * kChunk];
  const IntegerView view = dense_view(plan, args, zeros);
  const IntegerFinisher finisher = make_finisher(s, args);
  const Index c = s.c / plan.groups;
  const Index blocks = divide(s.k / plan.groups, kBlock);
  const Index tiles_of_filters = divide(blocks, plan.blocks);
  const Index ow = plan.flat ? view.w : s.ow();
  const Index block_bytes = s.kh * s.kw * view.fours * kTapBytes;
  const auto* const sums = reinterpret_cast<const std::int32_t*>(args.weights);
  const auto* const levels =
      reinterpret_cast<const std::int8_t*>(args.weights + sums_bytes(plan.groups * blocks, s.kh));
  const IntegerTiles tiles = integer_tiles(plan.pixels);
  const Index span = (plan.pixels - 1) * s.sw + (s.kw - 1) * s.dw;
  for (Index i = begin; i < end; ++i) {
    const IntegerItem item = integer_item(plan, i, tiles_of_filters);
    const Index first = item.filters * plan.blocks;
    const Index block = item.group * blocks + first;
    const Index wide = plan.blocks < blocks - first ? plan.blocks : blocks - first;
    const Index last = ow - plan.pixels;
    const Index x = item.tile * plan.pixels < last ? item.tile * plan.pixels : last;
    const Index column = x * s.sw - view.left;
    const IntegerCorner corner = {item.y * s.sh - view.top,
                                  column,
                                  args.src + item.image * args.src_image + item.group * c,
                                  levels + block * block_bytes,
                                  sums + block * s.kh * kBlock,
                                  column >= 0 && column + span < view.w};
    tiles.tiles[wide - 1](view, finisher, corner,
                          {item.image, item.y * ow + x, item.tile * plan.pixels - x, block});
  }
}

}  // namespace
}  // namespace rdquant::runtime::kernels
