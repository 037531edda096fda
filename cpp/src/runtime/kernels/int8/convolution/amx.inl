// Int8 convolution by tiles of AMX: products of a matrix of windows, one for each pixel of an image, with the matrix of
// weights.
//
// A place is P pixels, in one tile of rows or two; they meet one or two blocks of filters, whose sums stay in tiles. Images
// under kernels of one pixel are such matrices as they are; windows of others are copied, those of a strip of places at once.
//
// Packed: sums of weights, [block][B] int32; then int8 values, [group][tile's N blocks][quads of the window, and zeros up
// to whole steps][N][B][4].
#pragma once

#include "runtime/kernels/int8/convolution/groups.inl"
#include "runtime/kernels/int8/convolution/items.inl"
#include "runtime/kernels/int8/convolution/tile_int8.inl"
#include "runtime/kernels/int8/tables.hpp"
#include "simd/amx.inl"

namespace rdquant::runtime::kernels {
namespace {

using simd::kTileRowBytes;
using simd::kTileRows;

constexpr Index kMostPixels = 2 * kTileRows;
constexpr Index kMostBlocks = 2;
constexpr Index kWindows = Index{3} << 17;      // bytes of windows that are copied at once, at most
constexpr Index kNearWindows = Index{1} << 15;  // and where weights come from a near cache
constexpr Index kNearWeights = Index{1} << 19;

// Bytes from one copied window to the next: lines of one tile do not all fall into the same part of the first cache.
inline Index window_stride(const Int8Plan& plan) {
  const Index bytes = divide(plan.steps * plan.step_quads * 4, kTileRowBytes) * kTileRowBytes;
  return bytes % 1024 == 0 ? bytes + kTileRowBytes : bytes;
}

// Places that meet some filters before they meet others.
inline Index amx_strip(const Int8Plan& plan, Index weights, Index threads) {
  const Index own = divide(plan.tiles, plan.shape.n < threads ? threads : 1);
  const Index place = plan.pixels * (plan.gathers ? window_stride(plan) : plan.group_c);
  if (weights > kNearWeights && !plan.gathers) return plan.tiles;
  const Index most = (weights > kNearWeights ? kWindows : kNearWindows) / place;
  return most < 1 ? 1 : (most < own ? most : own);
}

// Any shape but depthwise ones whose windows can be copied; `steps` is 0 for others.
Int8Plan plan_amx(const ConvShape& s, Index threads) {
  if (is_depthwise(s)) return {};
  Int8Plan plan;
  plan.shape = s;
  set_groups(s, plan);
  const Index blocks = divide(plan.group_k, kBlock);
  const Index quads = s.kh * s.kw * divide(plan.group_c, 4);
  const Index area = s.oh() * s.ow();
  plan.flat = true;
  plan.gathers = !is_flat(s);
  plan.pixels = divide(area, divide(area, kMostPixels));
  plan.tiles = divide(area, plan.pixels);
  plan.blocks = blocks < kMostBlocks ? blocks : kMostBlocks;
  plan.steps = divide(quads, kTileRows);
  plan.step_quads = divide(quads, plan.steps);
  if (plan.gathers && window_stride(plan) * plan.pixels > kWindows) return {};
  const Index block_bytes = plan.steps * plan.step_quads * kTapBytes;
  plan.strip = amx_strip(plan, blocks * block_bytes, threads);
  if (plan.gathers) plan.scratch = plan.strip * plan.pixels * window_stride(plan) + 2 * kTileRowBytes;
  plan.items = s.n * plan.groups * divide(blocks, plan.blocks) * plan.tiles;
  plan.pack_items = plan.groups * blocks;
  plan.bytes = sums_bytes(plan.pack_items) + plan.pack_items * block_bytes;
  return plan;
}

// Whether the tiles take clearly less time than products in vectors. Cycles, by what Intel states: 16 for the product of two
// tiles, 52 until its sums are there for the next, 8 for a tile from the first cache; products in vectors reach three
// quarters of two a cycle. What follows the sums is the same but that they pass through memory.
bool amx_pays(const ConvShape& s, Index threads) {
  const Int8Plan plan = plan_amx(s, threads);
  if (plan.steps == 0) return false;
  constexpr Index kProduct = 16, kLatency = 52, kLoad = 8, kStore = 3;
  const Index blocks = divide(plan.group_k, kBlock);
  const Index rows = divide(plan.pixels, kTileRows);
  const Index products = kProduct * rows * plan.blocks;
  const Index loads = kLoad * (rows + plan.blocks);
  const Index most = products > loads ? products : loads;
  const Index place = plan.steps * (most > kLatency ? most : kLatency) + kLatency;
  const Index pixels = s.oh() * s.ow();
  const Index window = s.kw * divide(plan.group_c, 4);  // fours of channels in one of its rows
  const Index copies = plan.gathers ? 2 * pixels * s.kh * (1 + window * 4 / kTileRowBytes) : 0;
  const Index tiles = plan.tiles * divide(blocks, plan.blocks) * place + copies + kStore * pixels * blocks;
  const Index vectors = pixels * blocks * (2 * s.kh * window + 6) / 3;
  return 5 * tiles < 4 * vectors;
}

// One block of the `wide` of a tile.
void pack_amx_block(const Int8Plan& plan, const FilterBlock& filters, Index wide, std::int8_t* out,
                    std::int32_t* sums) {
  const Index taps = plan.shape.kh * plan.shape.kw;
  const Index quads = divide(plan.group_c, 4);
  for (Index i = 0; i < kBlock; ++i) sums[i] = 0;
  for (Index tap = 0; tap < taps; ++tap) {
    for (Index four = 0; four < quads; ++four, out += wide * kTapBytes) {
      for (Index i = 0; i < 4 * kBlock; ++i) {
        out[i] = filters.filters[i / 4].at(4 * four + i % 4, tap);
        sums[i / 4] += out[i];
      }
    }
  }
  for (Index row = taps * quads; row < plan.steps * plan.step_quads; ++row, out += wide * kTapBytes)
    std::memset(out, 0, kTapBytes);
}

void pack_amx(const Int8Plan& plan, const std::int8_t* weights, std::byte* packed, Index begin, Index end) {
  const ConvShape& s = plan.shape;
  const Index blocks = divide(plan.group_k, kBlock);
  const Index rows = plan.steps * plan.step_quads;
  auto* const sums = reinterpret_cast<std::int32_t*>(packed);
  auto* const levels = reinterpret_cast<std::int8_t*>(packed + sums_bytes(plan.pack_items));
  for (Index at = begin; at < end; ++at) {
    const Index group = at / blocks;
    const Index first = at % blocks / plan.blocks * plan.blocks;
    const Index left = blocks_of(plan, group) - first;
    const Index wide = plan.blocks < left ? plan.blocks : left;
    const Index within = at % blocks - first;
    if (within >= wide) continue;
    std::int8_t* const out = levels + ((group * blocks + first) * rows + within) * kTapBytes;
    const Index filter = group * plan.group_k + at % blocks * kBlock;
    const Index last = (group + 1) * plan.group_k < s.k ? (group + 1) * plan.group_k : s.k;
    const FilterBlock filters(s, weights, filter, last, first_channel(plan, group));
    pack_amx_block(plan, filters, wide, out, sums + at * kBlock);
  }
}

// Both write up to 63 bytes behind the last one, and copy_run reads as many.
inline std::uint8_t* copy_run(const std::uint8_t* from, Index bytes, std::uint8_t* to) {
  for (Index i = 0; i < bytes; i += kTileRowBytes) simd::store_as(to + i, simd::load_as<Packed>(from + i));
  return to + bytes;
}
inline std::uint8_t* fill_run(Packed value, Index bytes, std::uint8_t* to) {
  for (Index i = 0; i < bytes; i += kTileRowBytes) simd::store_as(to + i, value);
  return to + bytes;
}

// The windows of a strip's pixels, one after the other.
struct Windows {
  Windows(const Int8Plan& the_plan, const Int8ConvArgs& the_args)
      : plan(the_plan),
        args(the_args),
        stride(window_stride(the_plan)),
        zero(simd::splat_as<Packed>(static_cast<std::uint8_t>(the_args.src_zero))),
        bytes(reinterpret_cast<std::uint8_t*>(the_args.scratch)) {}

  void copy(Index image, Index group, Index first, Index end) {
    const Index ow = plan.shape.ow();
    const std::uint8_t* const src = args.src + image * args.src_image + first_channel(plan, group);
    for (Index p = first; p < end; ++p) copy_window(src, p / ow, p % ow, bytes + (p - first) * stride);
  }

  void copy_window(const std::uint8_t* src, Index y, Index x, std::uint8_t* to) const {
    const ConvShape& s = plan.shape;
    const Index tap = 4 * divide(plan.group_c, 4);
    const Index column = x * s.sw - s.left;
    const Span inside = taps_inside(column, s.kw, s.dw, s.w);
    for (Index ky = 0, row = y * s.sh - s.top; ky < s.kh; ++ky, row += s.dh) {
      if (row < 0 || row >= s.h || inside.begin == inside.end) {
        to = fill_run(zero, s.kw * tap, to);
        continue;
      }
      const std::uint8_t* from = src + (row * s.w + column + inside.begin * s.dw) * args.src_pixel;
      to = fill_run(zero, inside.begin * tap, to);
      if (s.dw == 1 && tap == args.src_pixel) {
        to = copy_run(from, (inside.end - inside.begin) * tap, to);
      } else {
        for (Index kx = inside.begin; kx < inside.end; ++kx, from += s.dw * args.src_pixel)
          to = copy_run(from, tap, to);
      }
      to = fill_run(zero, (s.kw - inside.end) * tap, to);
    }
  }

  const Int8Plan& plan;
  const Int8ConvArgs& args;
  Index stride;
  Packed zero;
  std::uint8_t* bytes;
};

// A place and its filters.
struct AmxPlace {
  const std::uint8_t* src;  // the first pixel's window
  Index stride;             // bytes to the next one's
  Index rows;               // in the first tile
  const std::int8_t* weights;
  Index steps, step_quads;
};

// sums[P][N][kBlock] = start[N][kBlock] + windows · weights, of M tiles of rows by N of filters. Tiles 0 to 3 hold sums, two of
// them for each tile of rows, 4 and 5 rows, 6 and 7 filters.
template <bool IsSigned, int M, int N>
void amx_sums(const AmxPlace& at, const std::int32_t* start, std::int32_t* sums) {
  for_each<M * N>([&](auto i) __attribute__((always_inline)) {
    simd::load_tile<decltype(i)::value / N * 2 + decltype(i)::value % N>(start + i % N * kBlock, 0);
  });
  const std::uint8_t* src = at.src;
  const std::int8_t* weights = at.weights;
  for (Index left = at.steps; left > 0; --left) {
    for_each<N>([&](auto n) __attribute__((always_inline)) {
      simd::load_tile<6 + decltype(n)::value>(weights + n * kTapBytes, N * kTapBytes);
    });
    for_each<M>([&](auto m) __attribute__((always_inline)) {
      constexpr int kRow = decltype(m)::value;
      simd::load_tile<4 + kRow>(src + m * at.rows * at.stride, at.stride);
      for_each<N>([&](auto n) __attribute__((always_inline)) {
        constexpr int kFilters = decltype(n)::value;
        simd::multiply_tiles<IsSigned, 2 * kRow + kFilters, 4 + kRow, 6 + kFilters>();
      });
    });
    src += at.step_quads * 4;
    weights += at.step_quads * N * kTapBytes;
  }
  for_each<M * N>([&](auto i) __attribute__((always_inline)) {
    simd::store_tile<decltype(i)::value / N * 2 + decltype(i)::value % N>(
        sums + (i / N * at.rows * N + i % N) * kBlock, N * kBlock * static_cast<Index>(sizeof(std::int32_t)));
  });
}

using AmxSums = void (*)(const AmxPlace&, const std::int32_t*, std::int32_t*);

inline AmxSums amx_sums(bool is_signed, Index rows, Index blocks) {
  constexpr AmxSums kAll[2][2][2] = {
      {{amx_sums<false, 1, 1>, amx_sums<false, 1, 2>}, {amx_sums<false, 2, 1>, amx_sums<false, 2, 2>}},
      {{amx_sums<true, 1, 1>, amx_sums<true, 1, 2>}, {amx_sums<true, 2, 1>, amx_sums<true, 2, 2>}}};
  return kAll[is_signed ? 1 : 0][rows - 1][blocks - 1];
}

// Int8 values of P pixels, by way of registers.
template <int P, int N>
[[gnu::always_inline]] inline void store_by_registers(const Int8EpilogueState& state,
                                                      const std::int32_t* sums, const TilePlace& at,
                                                      Index p) {
  if (at.skip - p >= P) return;
  I32 registers[P][N];
  for_each<P * N>([&](auto i) __attribute__((always_inline)) {
    registers[i / N][i % N] = load(sums + (p * N + i) * kBlock);
  });
  store_in_registers<P, N>(state, registers, {at.image, at.pixel + p, at.skip - p, at.block});
}

template <int N>
[[gnu::noinline]] void store_clamped_sums(const Int8EpilogueState& state, const std::int32_t* sums,
                                          const TilePlace& at, Index pixels) {
  Index p = 0;
  for (; p + 4 <= pixels; p += 4) store_by_registers<4, N>(state, sums, at, p);
  for (; p < pixels; ++p) store_by_registers<1, N>(state, sums, at, p);
}

template <int N>
[[gnu::noinline]] void measure_sums(const Int8EpilogueState& state, const std::int32_t* sums,
                                    const TilePlace& at, Index pixels) {
  for (Index p = 0; p < pixels; ++p, sums += N * kBlock) {
    I32 one[1][N];
    for_each<N>([&](auto n) __attribute__((always_inline)) { one[0][n] = load(sums + n * kBlock); });
    measure_tile<1, N>(state, one, at);
  }
}

template <int N>
void store_sums(const Int8EpilogueState& state, const std::int32_t* sums, const TilePlace& at, Index pixels) {
  if (at.skip >= pixels) return;
  if (state.stays_in_registers) return store_clamped_sums<N>(state, sums, at, pixels);
  if (state.args->epilogue.measured) return measure_sums<N>(state, sums, at, pixels);
  if (state.scales_and_clamps) return store_copied<N>(state, sums, at, pixels);
  if (state.floats_in_registers) return store_tile_floats<N>(state, sums, at, pixels);
  store_any(state, sums, at, pixels, N, N);
}

// Bias less what the source's zero adds.
inline void amx_start(const Int8ConvArgs& args, const std::int32_t* weight_sums, Index block, Index count,
                      std::int32_t* start) {
  for (Index n = 0; n < count; ++n) {
    const I32 bias = args.bias == nullptr ? splat(0) : load(args.bias + (block + n) * kBlock);
    store(start + n * kBlock, bias - load(weight_sums + (block + n) * kBlock) * splat(args.src_zero));
  }
}

inline simd::TileShapes tile_shapes(const Int8Plan& plan, Index first_rows) {
  simd::TileShapes shapes;
  const Index rest = plan.pixels - first_rows;
  for (int n = 0; n < kMostBlocks; ++n) {
    shapes.set(6 + n, plan.step_quads, kTileRowBytes);
    shapes.set(n, first_rows, kTileRowBytes);
  }
  shapes.set(4, first_rows, 4 * plan.step_quads);
  if (rest == 0) return shapes;
  shapes.set(2, rest, kTileRowBytes);
  shapes.set(3, rest, kTileRowBytes);
  shapes.set(5, rest, 4 * plan.step_quads);
  return shapes;
}

// What the places of a run share.
struct AmxRun {
  AmxRun(const Int8Plan& the_plan, const Int8ConvArgs& the_args)
      : plan(the_plan),
        args(the_args),
        state(make_int8_epilogue(the_plan.shape, the_args)),
        area(the_plan.shape.oh() * the_plan.shape.ow()),
        tiles(divide(the_plan.pixels, kTileRows)),
        first_rows(divide(the_plan.pixels, tiles)),
        blocks(divide(the_plan.group_k, kBlock)),
        windows(the_plan, the_args) {}

  [[nodiscard]] Index first_pixel(Index place) const {
    const Index last = area - plan.pixels;
    return place * plan.pixels < last ? place * plan.pixels : last;
  }

  // Where the windows of a place are, which are copied with those of its strip where they have to be.
  void find_windows(const Int8Item& item, AmxPlace& at) {
    const Index x = first_pixel(item.tile);
    if (!plan.gathers) {
      at.src = args.src + item.image * args.src_image + first_channel(plan, item.group) + x * args.src_pixel;
      at.stride = args.src_pixel;
      return;
    }
    const Index strip = (item.image * plan.groups + item.group) * plan.tiles + item.first_tile;
    const Index first = first_pixel(item.first_tile);
    if (strip != copied) {
      const Index last = first_pixel(item.first_tile + item.length - 1);
      windows.copy(item.image, item.group, first, last + plan.pixels);
      copied = strip;
    }
    at.src = windows.bytes + (x - first) * windows.stride;
    at.stride = windows.stride;
  }

  void run(const Int8Item& item) {
    const Index first = item.filters * plan.blocks;
    const Index left = blocks_of(plan, item.group) - first;
    if (left <= 0) return;
    const Index wide = plan.blocks < left ? plan.blocks : left;
    const Index block = item.group * blocks + first;
    AmxPlace at = {};
    at.rows = first_rows;
    at.weights = reinterpret_cast<const std::int8_t*>(args.weights + sums_bytes(plan.pack_items)) +
                 block * plan.steps * plan.step_quads * kTapBytes;
    at.steps = plan.steps;
    at.step_quads = plan.step_quads;
    find_windows(item, at);
    amx_start(args, reinterpret_cast<const std::int32_t*>(args.weights), block, wide, start);
    amx_sums(args.src_signed, tiles, wide)(at, start, sums);
    const Index x = first_pixel(item.tile);
    for (Index row = 0; row < plan.pixels; row += first_rows) {
      const Index skip = item.tile * plan.pixels - x - row;
      const Index pixels = plan.pixels - row < first_rows ? plan.pixels - row : first_rows;
      const TilePlace place = {item.image, x + row, skip < 0 ? 0 : skip, block};
      (wide == 1 ? store_sums<1> : store_sums<2>)(state, sums + row * wide * kBlock, place, pixels);
    }
  }

  const Int8Plan& plan;
  const Int8ConvArgs& args;
  Int8EpilogueState state;
  Index area, tiles, first_rows, blocks;
  Index copied = -1;  // the strip whose windows are there
  alignas(64) std::int32_t start[kMostBlocks * kBlock];
  alignas(64) std::int32_t sums[kMostPixels * kMostBlocks * kBlock];
  Windows windows;
};

void run_amx(const Int8Plan& plan, const Int8ConvArgs& args, Index begin, Index end) {
  if (begin >= end) return;
  AmxRun run(plan, args);
  const simd::ConfiguredTiles configured(tile_shapes(plan, run.first_rows));
  const Int8Items items(plan, divide(run.blocks, plan.blocks));
  Int8Item item = items.at(begin);
  for (Index i = begin; i < end; ++i, items.next(item)) run.run(item);
}

}  // namespace

namespace RDQUANT_KERNELS_ISA {
const Int8AmxTable int8_amx = {plan_amx, amx_pays, pack_amx, run_amx};
}  // namespace RDQUANT_KERNELS_ISA
}  // namespace rdquant::runtime::kernels
