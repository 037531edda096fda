#pragma once

#include <cstddef>
#include <cstdint>

/// The two passes of prune_quantize, compiled once per instruction set (kernels_*.cpp) from one source
/// without contraction: all give the same bits.
namespace rdquant::train {

/// Values whose sums are taken together; see prune.hpp.
inline constexpr std::size_t kBlock = 4096;

/// Sums of d = w − shift over a block.
struct BlockSums {
  double sum, squares;
  double most;  ///< greatest |w|
  bool finite;  ///< false: the other members mean nothing
};

template <typename T>
struct Rule {
  T threshold, step;  ///< step 0: prune only
};

struct Kernels {
  void (*sums_f32)(const float* w, std::size_t n, double shift, BlockSums& out);
  void (*sums_f64)(const double* w, std::size_t n, double shift, BlockSums& out);
  /// Writes n weights and returns how many are not 0; H to `pruned` unless that is null. `out` and `pruned`
  /// may be `w`.
  std::int64_t (*apply_f32)(const float* w, std::size_t n, const Rule<float>& rule, float* out,
                            float* pruned);
  std::int64_t (*apply_f64)(const double* w, std::size_t n, const Rule<double>& rule, double* out,
                            double* pruned);
};

namespace baseline {
extern const Kernels kernels;
}
namespace avx2 {
extern const Kernels kernels;
}
namespace avx512 {
extern const Kernels kernels;
}

}  // namespace rdquant::train
