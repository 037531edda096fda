// Tiles of AMX: up to 16 rows of up to 64 bytes, in eight registers that a program configures. As assembler, for compilers
// know the instructions by flags of their own only.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rdquant::simd {
namespace {

constexpr int kTiles = 8;
constexpr std::ptrdiff_t kTileRows = 16;
constexpr std::ptrdiff_t kTileRowBytes = 64;

/// The operand of LDTILECFG.
struct alignas(64) TileShapes {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t row_bytes[16] = {};
  std::uint8_t rows[16] = {};

  void set(int tile, std::ptrdiff_t row_count, std::ptrdiff_t bytes) {
    rows[tile] = static_cast<std::uint8_t>(row_count);
    row_bytes[tile] = static_cast<std::uint16_t>(bytes);
  }
};
static_assert(sizeof(TileShapes) == 64);

/// For this thread, until the end of the object's life; tiles are 0 first.
class ConfiguredTiles {
 public:
  explicit ConfiguredTiles(const TileShapes& shapes) { asm volatile("ldtilecfg %0" : : "m"(shapes)); }
  ~ConfiguredTiles() { asm volatile("tilerelease" : : : "memory"); }
  ConfiguredTiles(const ConfiguredTiles&) = delete;
  ConfiguredTiles& operator=(const ConfiguredTiles&) = delete;
};

/// Rows `stride` bytes apart, which may be 0.
template <int Tile>
[[gnu::always_inline]] inline void load_tile(const void* from, std::ptrdiff_t stride) {
  static_assert(Tile < kTiles);
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride), "i"(Tile) : "memory");
}
template <int Tile>
[[gnu::always_inline]] inline void store_tile(void* to, std::ptrdiff_t stride) {
  static_assert(Tile < kTiles);
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(stride), "i"(Tile) : "memory");
}

/// sums[m][n] += Σ x[m][4·k + i]·w[k][4·n + i] over all k and i < 4: int32 of int8 `w` and of `x`, which is int8 where
/// IsSigned, else uint8.
template <bool IsSigned, int Sums, int X, int W>
[[gnu::always_inline]] inline void multiply_tiles() {
  static_assert(Sums < kTiles && X < kTiles && W < kTiles);
  if constexpr (IsSigned) {
    asm volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(Sums), "i"(X), "i"(W));
  } else {
    asm volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(Sums), "i"(X), "i"(W));
  }
}

}  // namespace
}  // namespace rdquant::simd
