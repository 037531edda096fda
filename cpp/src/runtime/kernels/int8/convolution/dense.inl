// Int8 convolution, all channels of a group with all filters of it.
//
// A tile is P pixels of one row (or of the whole image where it can be run as one row) times N blocks of
// filters, whose sums stay in registers. For each tap and each four channels under it, N blocks' weights meet
// the four bytes of P pixels. Channels go in chunks, so that a pixel of the padding has an end.
//
// Packed: sums of weights, [block][kh][B] int32; then int8 values, [group][tile's N blocks][chunk][kh][kw][four
// channels][N][B][4], with room for all channels of groups run together in every tile.
#pragma once

#include "runtime/kernels/int8/convolution/tile_int8.inl"
#include "runtime/kernels/int8/convolution/tiles.inl"
#include "runtime/kernels/int8/convolution/windows.inl"
#if defined(__ARM_FEATURE_DOTPROD)
#include "runtime/kernels/int8/convolution/runs.inl"
#include "runtime/kernels/int8/convolution/tile_neon.inl"
#endif

namespace rdquant::runtime::kernels {
namespace {

// What tells how fours of a pixel's channels come to the lanes: all the same four, or each its own.
struct Broadcast {
  explicit Broadcast(const Int8View& /*view*/) {}
  template <bool Signed>
  [[nodiscard, gnu::always_inline]] Quads load(const std::uint8_t* p) const {
    return broadcast<Signed>(p);
  }
};
struct Spread {
  explicit Spread(const Int8View& s) : places(s.places) {}
  template <bool Signed>
  [[nodiscard, gnu::always_inline]] Quads load(const std::uint8_t* p) const {
    return spread<Signed>(p, places);
  }
  simd::Bytes places;
};

// Sums over `quads` times four channels of pixels `step` bytes apart.
template <bool Signed, int P, int N, class Lanes>
[[gnu::always_inline]] inline const std::int8_t* dense_quads(const Lanes& lanes, const std::uint8_t* in,
                                                             Index step, Index quads,
                                                             const std::int8_t* weights, I32 (&sums)[P][N]) {
  // Three pixels, and the first of the next three, are within reach of one address.
  constexpr int kBases = (P + 2) / 3;
  const std::uint8_t* bases[kBases];
  for_each<kBases>([&](auto i) __attribute__((always_inline)) { bases[i] = in + 3 * i * step; });
  for (const std::int8_t* const end = weights + quads * N * kTapBytes; weights != end;
       weights += N * kTapBytes) {
    Taps taps[N];
    for_each<N>([&](auto n) __attribute__((always_inline)) { taps[n] = load_taps(weights + n * kTapBytes); });
    for_each<P>([&](auto p) __attribute__((always_inline)) {
      constexpr int kPixel = decltype(p)::value;
      const Quads x = lanes.template load<Signed>(bases[kPixel / 3] + kPixel % 3 * step);
      for_each<N>([&](auto n) __attribute__((always_inline)) { sums[p][n] = dot(x, taps[n], sums[p][n]); });
    });
    for_each<kBases>([&](auto i) __attribute__((always_inline)) { bases[i] += 4; });
  }
  return weights;
}

// The same of quads that lie at `offsets` from the first pixel.
template <bool Signed, int P, int N, class Lanes>
[[gnu::always_inline]] inline void dense_list(const Lanes& lanes, const std::uint8_t* in, Index step,
                                              const std::int32_t* offsets, Index quads,
                                              const std::int8_t* weights, I32 (&sums)[P][N]) {
  for (Index i = 0; i < quads; ++i, weights += N * kTapBytes) {
    const std::uint8_t* const first = in + offsets[i];
    Taps taps[N];
    for_each<N>([&](auto n) __attribute__((always_inline)) { taps[n] = load_taps(weights + n * kTapBytes); });
    for_each<P>([&](auto p) __attribute__((always_inline)) {
      constexpr int kPixel = decltype(p)::value;
      const Quads x = lanes.template load<Signed>(first + kPixel * step);
      for_each<N>([&](auto n) __attribute__((always_inline)) { sums[p][n] = dot(x, taps[n], sums[p][n]); });
    });
  }
}

// Bias less what the source's zero adds: rows of the kernel in the padding are left out, columns are not.
inline I32 dense_start(const Int8View& s, const Int8EpilogueState& state, const Int8Corner& at, Index n,
                       Index block) {
  const std::int32_t* const bias = state.args->bias;
  I32 start = bias == nullptr ? splat(0) : load(bias + block * kBlock);
  if (s.zero == 0) return start;
  const Span rows = taps_inside(at.row, s.kh, s.dh, s.h);
  I32 total = splat(0);
  for (Index ky = rows.begin; ky < rows.end; ++ky)
    total = total + load(at.weight_sums + (n * s.kh + ky) * kBlock);
  return start - total * splat(s.zero);
}

// All taps of a tile.
template <bool Signed, int P, int N, class Lanes>
[[gnu::always_inline]] inline void dense_sums(const Int8View& s, const Lanes& lanes, const Int8Corner& at,
                                              I32 (&sums)[P][N]) {
  if (!kListsRuns && at.offsets != nullptr) {
    const Span rows = taps_inside(at.row, s.kh, s.dh, s.h);
    const Index row = s.kw * s.quads;
    return dense_list<Signed>(lanes, at.src, at.step, at.offsets + rows.begin * row,
                              (rows.end - rows.begin) * row, at.weights + rows.begin * row * N * kTapBytes,
                              sums);
  }
  const std::int8_t* weights = at.weights;
  for (Index done = 0; done < s.quads; done += kChunk) {
    const Index quads = s.quads - done < kChunk ? s.quads - done : kChunk;
    const Index runs = at.joined ? 1 : s.kw;
    const Index length = at.joined ? quads * s.kw : quads;
    const std::uint8_t* line = at.src + 4 * done;
    for (Index ky = 0, row = at.row; ky < s.kh; ++ky, row += s.dh, line += at.line) {
      if (row < 0 || row >= s.h) {
        weights += s.kw * quads * N * kTapBytes;
        continue;
      }
      const std::uint8_t* in = line;
      for (Index kx = 0; kx < runs; ++kx, in += at.tap) {
        const std::uint8_t* from = in;
        if constexpr (P == 1) {
          const Index column = at.column + kx * s.dw;
          if (!at.inside && (column < 0 || column >= s.w)) from = s.zeros;
        }
        weights = dense_quads<Signed>(lanes, from, at.step, length, weights, sums);
      }
    }
  }
}

#if defined(__ARM_FEATURE_DOTPROD)
template <int P, int N>
void dense_tile_of_runs(const Int8View& s, const Int8EpilogueState& state, Int8Corner at, TilePlace place) {
  alignas(64) std::int32_t start[N * kBlock];
  alignas(64) std::int32_t sums[kSums];
  for (Index n = 0; n < N; ++n) store(start + n * kBlock, dense_start(s, state, at, n, place.block + n));
  const Span rows = taps_inside(at.row, s.kh, s.dh, s.h);
  const Index tap = s.quads * N * kTapBytes;
  DotRuns runs = {at.src,
                  at.step,
                  at.offsets + rows.begin * at.runs,
                  (rows.end - rows.begin) * at.runs,
                  at.joined ? s.quads * s.kw : s.quads,
                  at.weights + rows.begin * s.kw * tap};
  const simd::Requantizer<N> levels = requantizer<N>(state, place.block);
  for (Index left = at.tiles; left > 0; --left, runs.src += P * at.step, place.pixel += P) {
    if (runs.runs <= 0) {
      for (Index i = 0; i < kSums; ++i) sums[i] = start[i % (N * kBlock)];
    } else {
      dot_runs<P, N>(runs, start, sums);
    }
    store_tile_of<P, N>(state, levels, sums, place);
  }
}
#endif

template <class Lanes, int P, int N>
void dense_tile(const Int8View& s, const Int8EpilogueState& state, const Int8Corner& first,
                const TilePlace& first_place) {
#if defined(__ARM_FEATURE_DOTPROD)
  if constexpr (kAssembled<P, N>) {
    if (first.offsets != nullptr && state.args->src_signed)
      return dense_tile_of_runs<P, N>(s, state, first, first_place);
  }
#endif
  Int8Corner at = first;
  TilePlace place = first_place;
  I32 start[N];
  for_each<N>([&](auto n) __attribute__((always_inline)) {
    start[n] = dense_start(s, state, at, n, place.block + n);
  });
  const Lanes lanes(s);
  const bool is_signed = state.args->src_signed;
  for (Index left = at.tiles; left > 0; --left, at.src += P * at.step, place.pixel += P) {
    I32 sums[P][N];
    for_each<N>([&](auto n) __attribute__((always_inline)) {
      for_each<P>([&](auto p) __attribute__((always_inline)) { sums[p][n] = start[n]; });
    });
    if (is_signed) {
      dense_sums<true>(s, lanes, at, sums);
    } else {
      dense_sums<false>(s, lanes, at, sums);
    }
    store_tile<P, N>(state, sums, place);
  }
}

using Int8Tile = void (*)(const Int8View&, const Int8EpilogueState&, const Int8Corner&, const TilePlace&);

// By number of blocks (less one).
struct Int8Tiles {
  Int8Tile tiles[kInt8Blocks];
};

inline Int8Tiles int8_tiles(Index pixels, [[maybe_unused]] bool spreads) {
  Int8Tiles all = {};
  for_each<kInt8Blocks>([&](auto n) {
    constexpr int kBlocks = decltype(n)::value + 1;
    const auto tile_of = [&](auto make) {
      return pick_tile(pixels, make, typename Int8Pixels<kBlocks>::List{});
    };
    if constexpr (kSpreads && kBlocks == 1) {
      if (spreads) {
        all.tiles[n] =
            tile_of([](auto p) -> Int8Tile { return dense_tile<Spread, decltype(p)::value, kBlocks>; });
        return;
      }
    }
    all.tiles[n] =
        tile_of([](auto p) -> Int8Tile { return dense_tile<Broadcast, decltype(p)::value, kBlocks>; });
  });
  return all;
}

// Places of a strip: few enough for their part of the image to stay in the first cache; or a row of a band;
// or a single one, whose window may have to be copied; or all where the filters are what is to stay in a
// cache.
inline Index dense_strip(const Int8Plan& plan, Index filters, Index group_weights, Index threads) {
  constexpr Index kMost = 16;
  const Index places = plan.tiles * (plan.flat ? 1 : plan.shape.oh());
  if (filters == 1 || group_weights > (Index{1} << 20)) return places;
  if (!plan.flat) return band_rows(plan) > 0 || !reaches_past(plan.shape) ? plan.tiles : 1;
  const Index own = divide(places, plan.shape.n < threads ? threads : 1);
  return divide(own, divide(own, kMost));
}

// What tiles of N blocks by P pixels cost for all channels that each of them sees.
inline Index int8_groups_cost(Int8Plan plan, Index blocks, Index n, Index pixels) {
  if (plan.groups == plan.shape.groups) return cost_of_blocks(blocks, int8_tile_cost)(n, pixels);
  plan.blocks = n;
  Index cost = 0;
  for (Index first = 0; first < blocks; first += n)
    cost +=
        quads_seen(plan, 0, first).count() * int8_tile_cost(n < blocks - first ? n : blocks - first, pixels);
  return cost;
}

Int8Plan plan_dense(const ConvShape& s, Index threads) {
  Int8Plan plan;
  plan.shape = s;
  set_groups(s, plan);
  const Index blocks = divide(plan.group_k, kBlock);
  plan.flat = is_flat(s);
  const Index row = plan.flat ? s.h * s.w : s.ow();
  const TileChoice choice = choose_tile<Int8Pixels, kInt8Blocks>(
      row, blocks, [&](Index n, Index p) { return int8_groups_cost(plan, blocks, n, p); });
  plan.blocks = choice.blocks;
  plan.pixels = choice.pixels;
  plan.tiles = divide(row, plan.pixels);
  const Index quads = divide(plan.group_c, 4);
  const Index weights = plan.groups * blocks * s.kh * s.kw * quads * kTapBytes;
  const Index filters = divide(blocks, plan.blocks);
  plan.strip = dense_strip(plan, filters, weights / plan.groups, threads);
  plan.items = s.n * plan.groups * filters * plan.tiles * (plan.flat ? 1 : s.oh());
  plan.pack_items = plan.groups * blocks;
  plan.bytes = sums_bytes(plan.groups * blocks * s.kh) + weights;
  return plan;
}

// One block of filters, those from `first` on that are below `end`.
struct DenseBlock {
  Index first, end, channel;  // `channel`: the first of the group's
  SeenQuads quads;
  bool spreads;
  Index wide;
  std::int8_t* out;
  std::int32_t* sums;
};

void pack_dense_block(const ConvShape& s, const std::int8_t* weights, const DenseBlock& block) {
  const Index taps = s.kh * s.kw;
  const FilterBlock filters(s, weights, block.first, block.end, block.channel);
  for (Index i = 0; i < s.kh * kBlock; ++i) block.sums[i] = 0;
  const Index quads = block.quads.count();
  // Where each filter's quads begin: at those of the tile, or of its own group.
  const auto first_of = [&](const Filter& filter) {
    return block.spreads ? filter.first : 4 * block.quads.begin;
  };
  for (Index four = 0; four < quads; ++four) {
    const Index chunk = four / kChunk * kChunk;
    const Index length = quads - chunk < kChunk ? quads - chunk : kChunk;
    for (Index tap = 0; tap < taps; ++tap) {
      std::int8_t* const out =
          block.out + (chunk * taps + tap * length + four - chunk) * block.wide * kTapBytes;
      for (Index lane = 0; lane < kBlock; ++lane) {
        for (Index i = 0; i < 4; ++i) {
          const Filter& filter = filters.filters[lane];
          const std::int8_t w = filter.at(first_of(filter) + 4 * four + i, tap);
          out[tap_place(lane, i)] = w;
          block.sums[tap / s.kw * kBlock + lane] += w;
        }
      }
    }
  }
}

void pack_dense(const Int8Plan& plan, const std::int8_t* weights, std::byte* packed, Index begin, Index end) {
  const ConvShape& s = plan.shape;
  const Index k = plan.group_k;
  const Index quads = divide(plan.group_c, 4);
  const Index blocks = divide(k, kBlock);
  const Index block_bytes = s.kh * s.kw * quads * kTapBytes;
  auto* const sums = reinterpret_cast<std::int32_t*>(packed);
  auto* const levels = reinterpret_cast<std::int8_t*>(packed + sums_bytes(plan.groups * blocks * s.kh));
  for (Index at = begin; at < end; ++at) {
    const Index group = at / blocks;
    const Index block = at % blocks;
    const Index tile = block / plan.blocks * plan.blocks;
    const Index left = blocks_of(plan, group) - tile;
    const Index wide = plan.blocks < left ? plan.blocks : left;
    if (block - tile >= wide) continue;
    std::int8_t* const out = levels + (group * blocks + tile) * block_bytes + (block - tile) * kTapBytes;
    pack_dense_block(s, weights,
                     {group * k + block * kBlock, (group + 1) * k < s.k ? (group + 1) * k : s.k,
                      first_channel(plan, group), quads_seen(plan, group, tile), spreads(plan), wide, out,
                      sums + at * s.kh * kBlock});
  }
}

void run_dense(const Int8Plan& plan, const Int8ConvArgs& args, Index begin, Index end) {
  if (begin >= end) return;
  const ConvShape& s = plan.shape;
  DenseRun run(plan, args);
  Int8View view = run.view;
  const Int8EpilogueState state = make_int8_epilogue(s, args);
  const Index blocks = divide(plan.group_k, kBlock);
  const Index ow = plan.flat ? view.w : s.ow();
  const Index block_bytes = s.kh * s.kw * run.quads * kTapBytes;
  const auto* const sums = reinterpret_cast<const std::int32_t*>(args.weights);
  const auto* const levels =
      reinterpret_cast<const std::int8_t*>(args.weights + sums_bytes(plan.groups * blocks * s.kh));
  const Int8Tiles tiles = int8_tiles(plan.pixels, spreads(plan));
  const Int8Items items(plan, divide(blocks, plan.blocks));
  Int8Item item = items.at(begin);
  const Int8Item final = items.at(end - 1);
  for (Index i = begin; i < end; ++i, items.next(item)) {
    const Index first = item.filters * plan.blocks;
    const Index left = blocks_of(plan, item.group) - first;
    if (left <= 0) continue;
    const Index wide = plan.blocks < left ? plan.blocks : left;
    const Index last = ow - plan.pixels;
    const Index x = item.tile * plan.pixels < last ? item.tile * plan.pixels : last;
    const Index row = item.y * s.sh - s.top;
    TilePlace place = {item.image, item.y * ow + x, item.tile * plan.pixels - x, item.group * blocks + first};
    const SeenQuads seen = run.seen(item.group, first);
    view.quads = seen.count();
    const auto seen_at = [&](Int8Corner at) {
      run.see(seen, at);
      at.weights = levels + place.block * block_bytes;
      at.weight_sums = sums + place.block * s.kh * kBlock;
      return at;
    };
    Int8Corner at = run.corner(item, row, x * s.sw - s.left, plan.pixels);
    const bool stages = run.band > 0 || (!at.inside && run.staged);
    if (stages) {
      const bool ends = item.image == final.image && item.group == final.group;
      run.stage(item, ends && final.y >= item.y ? final.y - item.y + 1 : s.oh(), at);
    }
    if (at.inside && (run.band > 0 || !stages)) {
      const Index most = item.length - item.within;
      at.tiles = run.inside_tiles(item, at, most < end - i ? most : end - i);
      items.skip(item, at.tiles - 1);
      i += at.tiles - 1;
    }
    if (at.inside) {
      tiles.tiles[wide - 1](view, state, seen_at(at), place);
      continue;
    }
    const Int8Tiles single = int8_tiles(1, spreads(plan));
    for (Index p = place.skip; p < plan.pixels; ++p) {
      const Int8Corner one = seen_at(run.corner(item, row, (x + p) * s.sw - s.left, 1));
      single.tiles[wide - 1](view, state, one, {item.image, place.pixel + p, 0, place.block});
    }
  }
}

}  // namespace
}  // namespace rdquant::runtime::kernels
