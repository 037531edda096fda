// Sizes of tiles.
#pragma once

#include "base.inl"

namespace rdquant::runtime::kernels {
namespace {

// Pixels that tiles are compiled for, by the number of blocks of filters in the tile, greatest first.
template <int... P>
using Pixels = std::integer_sequence<int, P...>;

// Sums of a tile fill the registers but for the weights and one number of the image.
template <int N>
struct TilePixels;
#if defined(__AVX512F__)
constexpr Index kTileBlocks = 2;
template <>
struct TilePixels<2> {
  using List = Pixels<14, 13, 10, 8, 7, 6, 4, 2, 1>;
};
template <>
struct TilePixels<1> {
  using List = Pixels<14, 13, 10, 8, 7, 6, 4, 2, 1>;
};
#elif defined(__AVX2__)
constexpr Index kTileBlocks = 2;
template <>
struct TilePixels<2> {
  using List = Pixels<6, 5, 4, 3, 2, 1>;
};
template <>
struct TilePixels<1> {
  using List = Pixels<12, 10, 8, 7, 6, 4, 2, 1>;
};
#else
constexpr Index kTileBlocks = 1;
template <>
struct TilePixels<1> {
  using List = Pixels<6, 5, 4, 2, 1>;
};
#endif

// The number of pixels with which a row of `width` is covered at the least cost; the last tile may overlap
// the one before. A tile costs its pixels and as much as two more.
template <int... P>
Index choose_pixels(Index width, Pixels<P...> /*list*/) {
  Index best = 0;
  Index least = 0;
  for (const Index pixels : {P...}) {
    if (pixels > width) continue;
    const Index cost = divide(width, pixels) * (pixels + 2);
    if (best == 0 || cost < least) {
      best = pixels;
      least = cost;
    }
  }
  return best;
}

// table<P>() for the P of the list that equals `pixels`.
template <class Make, int... P>
auto pick_tile(Index pixels, Make make, Pixels<P...> /*list*/) {
  decltype(make(std::integral_constant<int, 1>{})) tile = nullptr;
  ((pixels == P ? void(tile = make(std::integral_constant<int, P>{})) : void()), ...);
  return tile;
}

}  // namespace
}  // namespace rdquant::runtime::kernels
