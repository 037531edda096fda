// Sizes of tiles: N blocks of filters × P pixels, whose sums fill the registers but for N weights and a
// number of the image.
#pragma once

#include "runtime/kernels/base.inl"

namespace rdquant::runtime::kernels {
namespace {

template <int... P>
using Pixels = std::integer_sequence<int, P...>;

// The numbers of pixels that tiles of N blocks are compiled for. The last tile of a row of tiles may have
// fewer blocks and the same pixels, so that each list holds the one after it.
template <int N>
struct TilePixels {
  using List = Pixels<>;
};
#if defined(__AVX512F__)
constexpr int kTileBlocks = 4;
template <>
struct TilePixels<1> {
  using List = Pixels<14, 13, 9, 8, 7, 6, 4, 1>;
};
template <>
struct TilePixels<2> {
  using List = Pixels<14, 13, 9, 8, 7, 6, 4, 1>;
};
template <>
struct TilePixels<3> {
  using List = Pixels<9, 8, 7, 6, 4, 1>;
};
template <>
struct TilePixels<4> {
  using List = Pixels<6, 4, 1>;
};
#elif defined(__AVX2__)
constexpr int kTileBlocks = 2;
template <>
struct TilePixels<1> {
  using List = Pixels<12, 8, 7, 6, 5, 4, 3, 1>;
};
template <>
struct TilePixels<2> {
  using List = Pixels<6, 5, 4, 3, 1>;
};
#else
constexpr int kTileBlocks = 1;
template <>
struct TilePixels<1> {
  using List = Pixels<6, 5, 4, 2, 1>;
};
#endif

struct TileChoice {
  Index blocks, pixels, cost;
};

// Instructions that one channel under one tap costs, and a share of what a tile costs in any case. Less than
// eight sums do not keep the multipliers busy.
inline Index tile_cost(Index blocks, Index pixels) {
  const Index sums = blocks * pixels < 8 ? 8 : blocks * pixels;
  return blocks == 0 ? 0 : sums + blocks + pixels + 4;
}

template <int N, class Cost, int... P>
void consider(Index width, Index blocks, const Cost& of, TileChoice& best, Pixels<P...> /*list*/) {
  for (const Index pixels : {P...}) {
    if (pixels > width || N > blocks) continue;
    const Index cost = divide(width, pixels) * of(N, pixels);
    if (best.cost == 0 || cost < best.cost) best = {N, pixels, cost};
  }
}

// The tile with which `blocks` blocks of filters by rows of `width` pixels cost least, by of(N, P): what P pixels of all
// blocks cost in tiles of N. The last tile of a row may overlap the one before.
template <template <int> class Sizes = TilePixels, int Most = kTileBlocks, class Cost>
TileChoice choose_tile(Index width, Index blocks, const Cost& of) {
  TileChoice best = {};
  for_each<Most>([&](auto n) {
    constexpr int kBlocks = decltype(n)::value + 1;
    consider<kBlocks>(width, blocks, of, best, typename Sizes<kBlocks>::List{});
  });
  return best;
}

// The same where a tile costs of(N, P), whatever its blocks are.
template <class Cost>
auto cost_of_blocks(Index blocks, const Cost& of) {
  return [blocks, of](Index n, Index pixels) { return blocks / n * of(n, pixels) + of(blocks % n, pixels); };
}

// make(P) for the P of the list that equals `pixels`, or null.
template <class Make, int... P>
auto pick_tile(Index pixels, Make make, Pixels<P...> /*list*/) {
  decltype(make(std::integral_constant<int, 1>{})) tile = nullptr;
  ((pixels == P ? void(tile = make(std::integral_constant<int, P>{})) : void()), ...);
  return tile;
}

}  // namespace
}  // namespace rdquant::runtime::kernels
