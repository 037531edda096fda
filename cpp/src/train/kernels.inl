// The loops behind kernels.hpp. Included by one file per instruction set, which sets RDQUANT_KERNELS_ISA.
// Everything here is local to the including file, and nothing from the standard library is called: code built
// for one set must not be linked into another.
#include <cstring>

#include "simd/vector.inl"
#include "train/kernels.hpp"

namespace rdquant::train {
namespace {

constexpr std::size_t kHalf = 8;  // lanes of one vector of doubles; a row of 16 is two of them
using F64 = simd::Vector<double, kHalf>;
using I64 = simd::Vector<std::int64_t, kHalf>;

inline F64 load(const float* w) {
  return simd::convert<double>(simd::load_as<simd::Vector<float, kHalf>>(w));
}
inline F64 load(const double* w) { return simd::load_as<F64>(w); }

struct Lanes {
  F64 total = {}, squares = {}, most = {};
  I64 bad = {};

  template <typename T>
  void add(const T* w, double shift) {
    const F64 v = load(w);
    const F64 a = simd::bits_as<F64>(simd::bits_as<I64>(v) & INT64_MAX);
    const F64 d = v - shift;
    total += d;
    squares += d * d;
    most = max(a, most);
    bad |= ~(a <= simd::splat_as<F64>(__DBL_MAX__));
  }
};

template <typename T>
void sums(const T* w, std::size_t n, double shift, BlockSums& out) {
  constexpr std::size_t kRow = 2 * kHalf;
  Lanes low, high;
  std::size_t i = 0;
  for (; i + kRow <= n; i += kRow) {
    low.add(w + i, shift);
    high.add(w + i + kHalf, shift);
  }
  if (i < n) {  // fill the last row with the shift: d = 0 adds nothing
    T row[kRow];
    for (std::size_t j = 0; j < kRow; ++j) row[j] = i + j < n ? w[i + j] : static_cast<T>(shift);
    low.add(row, shift);
    high.add(row + kHalf, shift);
  }
  out.sum = sum(low.total + high.total);
  out.squares = sum(low.squares + high.squares);
  out.most = 0.0;
  std::int64_t wrong = 0;
  const F64 most = max(low.most, high.most);
  for (int j = 0; j < static_cast<int>(kHalf); ++j) {
    out.most = element(most, j) > out.most ? element(most, j) : out.most;
    wrong |= element(low.bad | high.bad, j);
  }
  out.finite = wrong == 0;
}

inline float magnitude(float x) { return __builtin_fabsf(x); }
inline double magnitude(double x) { return __builtin_fabs(x); }
inline float nearest(float x) { return __builtin_rintf(x); }
inline double nearest(double x) { return __builtin_rint(x); }

// Adding 0 makes −0 to 0.
template <typename T>
inline void prune_piece(T* w, std::size_t n, T threshold) {
  for (std::size_t i = 0; i < n; ++i) w[i] = (magnitude(w[i]) >= threshold ? w[i] : T{0}) + T{0};
}

template <typename T>
inline void quantize_piece(T* w, std::size_t n, T step) {
  for (std::size_t i = 0; i < n; ++i) w[i] = step * nearest(w[i] / step) + T{0};
}

template <typename T>
inline std::int32_t count_piece(const T* w, std::size_t n) {
  std::int32_t nonzero = 0;
  for (std::size_t i = 0; i < n; ++i) nonzero += w[i] != T{0};
  return nonzero;
}

// Works on a copy in the first-level cache: the compiler need not ask whether w, out and pruned overlap.
template <typename T>
std::int64_t apply(const T* w, std::size_t n, const Rule<T>& rule, T* out, T* pruned) {
  constexpr std::size_t kPiece = 512;
  T piece[kPiece];
  std::int64_t nonzero = 0;
  for (std::size_t i = 0; i < n; i += kPiece) {
    const std::size_t size = n - i < kPiece ? n - i : kPiece;
    std::memcpy(piece, w + i, size * sizeof(T));
    prune_piece(piece, size, rule.threshold);
    if (pruned != nullptr) std::memcpy(pruned + i, piece, size * sizeof(T));
    if (rule.step > T{0}) quantize_piece(piece, size, rule.step);
    nonzero += count_piece(piece, size);
    std::memcpy(out + i, piece, size * sizeof(T));
  }
  return nonzero;
}

}  // namespace

namespace RDQUANT_KERNELS_ISA {
const Kernels kernels = {sums<float>, sums<double>, apply<float>, apply<double>};
}

}  // namespace rdquant::train
