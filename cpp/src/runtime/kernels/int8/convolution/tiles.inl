// Sizes of tiles of int32 sums. Without VNNI two registers of weights per block and two of the image have to
// be free.
#pragma once

#include "runtime/kernels/tiles.inl"

namespace rdquant::runtime::kernels {
namespace {

template <int N>
struct Int8Pixels {
  using List = Pixels<>;
};
#if defined(__AVX512VNNI__)
constexpr int kInt8Blocks = 4;
template <>
struct Int8Pixels<1> {
  using List = Pixels<16, 14, 13, 9, 8, 7, 6, 4, 1>;
};
template <>
struct Int8Pixels<2> : TilePixels<2> {};
template <>
struct Int8Pixels<3> : TilePixels<3> {};
template <>
struct Int8Pixels<4> : TilePixels<4> {};
#elif defined(__AVX512F__)
// Three instructions a product: what broadcasts of pixels add to them is hardly less in wider tiles.
constexpr int kInt8Blocks = 2;
template <>
struct Int8Pixels<1> {
  using List = Pixels<12, 8, 7, 5, 4, 1>;
};
template <>
struct Int8Pixels<2> {
  using List = Pixels<12, 8, 7, 5, 4, 1>;
};
#elif defined(__AVX2__)
constexpr int kInt8Blocks = 2;
template <>
struct Int8Pixels<1> {
  using List = Pixels<10, 8, 7, 5, 4, 3, 1>;
};
template <>
struct Int8Pixels<2> {
  using List = Pixels<4, 3, 1>;
};
#elif defined(__ARM_FEATURE_DOTPROD)
// What runs.inl has in assembler, and the pixels left over.
constexpr int kInt8Blocks = 2;
template <>
struct Int8Pixels<1> {
  using List = Pixels<8, 7, 4, 1>;
};
template <>
struct Int8Pixels<2> {
  using List = Pixels<4, 1>;
};
#elif defined(__ARM_NEON)
constexpr int kInt8Blocks = 2;
template <>
struct Int8Pixels<1> {
  using List = Pixels<8, 4, 3, 2, 1>;
};
template <>
struct Int8Pixels<2> {
  using List = Pixels<4, 3, 2, 1>;
};
#else
constexpr int kInt8Blocks = 1;
template <>
struct Int8Pixels<1> {
  using List = Pixels<4, 3, 2, 1>;
};
#endif

// As tile_cost, in halves of instructions. Weights are what comes from the second cache, again for each tile.
inline Index int8_tile_cost(Index blocks, Index pixels) {
#if defined(__ARM_FEATURE_DOTPROD)
  // Eighths of instructions for four channels: products, loads of pixels, of weights, and a share of a tile.
  const Index loads = blocks == 2 ? pixels : 2 * pixels;
  const Index assembled = blocks * pixels == 8 || blocks * pixels == 7 ? 0 : 4 * blocks * pixels;
  return blocks == 0 ? 0 : 16 * blocks * pixels + loads + assembled + 4 * blocks + 8;
#elif defined(__ARM_NEON)
  return blocks == 0 ? 0 : 8 * blocks * pixels + 2 * pixels + 4 * blocks + 8;
#endif
  const Index sums = blocks * pixels < 10 ? 10 : blocks * pixels;
  return blocks == 0 ? 0 : 2 * sums + 6 * blocks + pixels + 8;
}

}  // namespace
}  // namespace rdquant::runtime::kernels
