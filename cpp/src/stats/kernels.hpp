#pragma once

// The inner loops of the passes over the data, one set per instruction set. All sets come from one source
// (kernels.inl) without contraction, so they give the same bits.

#include <cstddef>
#include <cstdint>

namespace rdquant::stats {

/// Values are read in blocks of this many; sums run in float64 inside a block and blocks are merged.
inline constexpr std::size_t kBlock = 4096;
inline constexpr std::size_t kGrain = 64 * kBlock;  // values that are worth a thread of their own

struct BlockSums {
  double mean, m2, m3, m4, sum_abs, min, max;
  std::int64_t zeros;
  bool finite;  ///< false: the other members mean nothing
};

/// Maps x to bins of equal width: t = (x - offset) * scale, index = floor(t).
struct UniformMap {
  double offset, scale;
  double last;    ///< largest index
  double margin;  ///< share of a bin, on either side of an edge, in which rounding may give the wrong index
};

/// Maps x to bins that are uniform near `centre` and grow with the distance from it:
/// t = 1 + |x - centre| * scale, whose leading bits (exponent and `kFineBits` of mantissa) number the bins.
struct FineMap {
  double centre, scale;
  std::int64_t half;  ///< bins on either side
};
inline constexpr int kFineBits = 9;

struct Kernels {
  void (*sums_f32)(const float*, std::size_t, BlockSums&);
  void (*sums_f64)(const double*, std::size_t, BlockSums&);
  /// Indices of n <= kBlock values. True: some value lies outside the range, or so close to an edge that
  /// rounding could matter, and none of the indices may be used.
  bool (*uniform_f32)(const float*, std::size_t, const UniformMap&, std::int32_t*);
  bool (*uniform_f64)(const double*, std::size_t, const UniformMap&, std::int32_t*);
  void (*fine_f32)(const float*, std::size_t, const FineMap&, std::int32_t*);
  void (*fine_f64)(const double*, std::size_t, const FineMap&, std::int32_t*);
};

namespace baseline {
extern const Kernels table;
}
namespace avx2 {
extern const Kernels table;
}
namespace avx512 {
extern const Kernels table;
}

/// The set for core::selected_isa().
[[nodiscard]] const Kernels& kernels();

}  // namespace rdquant::stats
