// The matrix products in the transformed domain: for one position, P tiles × N blocks of filters, whose sums
// stay in registers over all channels.
#pragma once

#include "runtime/kernels/vec.inl"

namespace rdquant::runtime::kernels {
namespace {

// Blocks of filters that are multiplied together, and tiles: as many sums as registers allow.
#if defined(__AVX512F__)
constexpr Index kFilterBlocks = 2;
constexpr Index kMostTiles = 14;
#elif defined(__AVX2__)
constexpr Index kFilterBlocks = 2;
constexpr Index kMostTiles = 6;
#else
constexpr Index kFilterBlocks = 1;
constexpr Index kMostTiles = 6;
#endif
constexpr Index kMostTilesAlone = kFilterBlocks < 2 ? kMostTiles : 2 * kMostTiles;  // one block of filters

// Channels ahead of which weights are asked for: they come from the second cache or from further away.
constexpr Index kAhead = 32;

// v: [channel block, v_block apart][P][B]; u: [channel][N][B]; m: [block of filters, m_block apart][P][B].
template <int P, int N>
void product(const float* v, Index v_block, const float* u, float* m, Index m_block, Index channels) {
  F32 sums[P][N];
  for_each<P>([&](auto p) __attribute__((always_inline)) {
    for_each<N>([&](auto n) __attribute__((always_inline)) { sums[p][n] = splat(0.0f); });
  });
  for (Index done = 0; done < channels; done += kBlock, v += v_block) {
    const Index lanes = channels - done < kBlock ? channels - done : kBlock;
    for (Index c = 0; c < lanes; ++c, u += N * kBlock) {
      for_each<N>([&](auto n)
                      __attribute__((always_inline)) { __builtin_prefetch(u + (kAhead * N + n) * kBlock); });
      F32 weights[N];
      for_each<N>([&](auto n) __attribute__((always_inline)) { weights[n] = load(u + n * kBlock); });
      for_each<P>([&](auto p) __attribute__((always_inline)) {
        const F32 x = splat(v[p * kBlock + c]);
        for_each<N>([&](auto n)
                        __attribute__((always_inline)) { sums[p][n] = fma(x, weights[n], sums[p][n]); });
      });
    }
  }
  for_each<P>([&](auto p) __attribute__((always_inline)) {
    for_each<N>([&](auto n)
                    __attribute__((always_inline)) { store(m + n * m_block + p * kBlock, sums[p][n]); });
  });
}

using Product = void (*)(const float*, Index, const float*, float*, Index, Index);

template <int N, std::size_t... P>
Product choose_product(Index tiles, std::index_sequence<P...>) {
  static constexpr Product kProducts[] = {product<static_cast<int>(P) + 1, N>...};
  return kProducts[tiles - 1];
}

inline Product product_for(Index tiles, Index blocks) {
  if constexpr (kFilterBlocks == 2) {
    if (blocks == 2) return choose_product<2>(tiles, std::make_index_sequence<kMostTiles>{});
  }
  return choose_product<1>(tiles, std::make_index_sequence<kMostTilesAlone>{});
}

}  // namespace
}  // namespace rdquant::runtime::kernels
