// Included by kernels_<isa>.cpp, which define RDQUANT_KERNELS_ISA. Everything here has
// internal linkage, and nothing from the standard library is called: code built for one instruction set must
// not leak into another. Vectors of eight doubles, in as many registers as they fill.

#include <cstring>
#include <limits>

#include "simd/vector.inl"
#include "stats/kernels.hpp"

namespace rdquant::stats {
namespace {

constexpr int kLanes = 8;
using F64 = simd::Vector<double, kLanes>;
using I64 = simd::Vector<std::int64_t, kLanes>;

inline F64 load(const float* x) {
  return simd::convert<double>(simd::load_as<simd::Vector<float, kLanes>>(x));
}
inline F64 load(const double* x) { return simd::load_as<F64>(x); }
inline F64 splat(double x) { return simd::splat_as<F64>(x); }

inline F64 magnitude(F64 v) {
  return simd::bits_as<F64>(simd::bits_as<I64>(v) & std::numeric_limits<std::int64_t>::max());
}

template <typename T>
inline void first_sums(const T* x, std::size_t n, BlockSums& out) {
  F64 sums = {}, sums_abs = {}, low = splat(__builtin_inf()), high = -low;
  I64 zeros = {}, bad = {};
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const F64 v = load(x + i), a = magnitude(v);
    sums += v;
    sums_abs += a;
    low = min(v, low);
    high = max(v, high);
    zeros -= v == F64{};
    bad |= ~(a <= splat(__DBL_MAX__));
  }
  double s = sum(sums), sa = sum(sums_abs), lo = __builtin_inf(), hi = -lo;
  std::int64_t z = 0, wrong = 0;
  for (int l = 0; l < kLanes; ++l) {
    const double least = element(low, l), most = element(high, l);
    lo = least < lo ? least : lo;
    hi = most > hi ? most : hi;
    z += element(zeros, l);
    wrong |= element(bad, l);
  }
  for (; i < n; ++i) {
    const double v = static_cast<double>(x[i]);
    const double a = __builtin_fabs(v);
    s += v;
    sa += a;
    lo = v < lo ? v : lo;
    hi = v > hi ? v : hi;
    z += v == 0.0;
    wrong |= !(a <= __DBL_MAX__);
  }
  out.mean = s / static_cast<double>(n);
  out.sum_abs = sa;
  out.min = lo;
  out.max = hi;
  out.zeros = z;
  out.finite = wrong == 0;
}

// Sums of powers about the block's own mean: two passes over a block that lies in the first-level cache.
template <typename T>
void sums(const T* x, std::size_t n, BlockSums& out) {
  first_sums(x, n, out);
  F64 s1 = {}, s2 = {}, s3 = {}, s4 = {};
  const double mean = out.mean;
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const F64 d = load(x + i) - mean;
    const F64 d2 = d * d;
    s1 += d;
    s2 += d2;
    s3 += d2 * d;
    s4 += d2 * d2;
  }
  double t1 = sum(s1), t2 = sum(s2), t3 = sum(s3), t4 = sum(s4);
  for (; i < n; ++i) {
    const double d = static_cast<double>(x[i]) - out.mean;
    t1 += d;
    t2 += d * d;
    t3 += d * d * d;
    t4 += d * d * d * d;
  }
  // t1 is the rounding error of the mean.
  out.mean += t1 / static_cast<double>(n);
  out.m2 = t2 - t1 * t1 / static_cast<double>(n);
  out.m3 = t3;
  out.m4 = t4;
}

// Positions are cut to just outside the range, where the fraction gives them away as it does near an edge: an
// index is sure where the fraction keeps `margin` from 0 and 1.
template <typename T>
bool uniform(const T* x, std::size_t n, const UniformMap& map, std::int32_t* index) {
  const F64 low = splat(-0.5), high = splat(map.last + 1.0);
  const double inner = 0.5 - map.margin;
  I64 unsure = {};
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const F64 t = min(max((load(x + i) - map.offset) * map.scale, low), high);
    const auto k = simd::convert<std::int32_t>(t);
    unsure |= magnitude(t - simd::convert<double>(k) - 0.5) > splat(inner);
    simd::store_as(index + i, k);
  }
  bool check = i < n;  // at most seven values at the end of an array
  for (int l = 0; l < kLanes; ++l) check |= element(unsure, l) != 0;
  for (; i < n; ++i) index[i] = 0;
  return check;
}

template <typename T>
void fine(const T* x, std::size_t n, const FineMap& map, std::int32_t* index) {
  constexpr int kShift = 52 - kFineBits;
  const std::int64_t base = std::int64_t{1023} << kFineBits;
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const F64 d = load(x + i) - map.centre;
    const I64 k = (simd::bits_as<I64>(magnitude(d) * map.scale + 1.0) >> kShift) - base;
    const I64 mirrored = d < F64{};  // all ones on the lower side: half - 1 - k = half + ~k
    simd::store_as(index + i, simd::convert<std::int32_t>((k ^ mirrored) + map.half));
  }
  for (; i < n; ++i) {
    const double d = static_cast<double>(x[i]) - map.centre;
    const double t = __builtin_fabs(d) * map.scale + 1.0;
    std::int64_t bits;
    std::memcpy(&bits, &t, sizeof bits);
    const std::int64_t k = (bits >> kShift) - base;
    index[i] = static_cast<std::int32_t>(map.half + (d < 0.0 ? ~k : k));
  }
}

}  // namespace

namespace RDQUANT_KERNELS_ISA {
const Kernels table = {sums<float>, sums<double>, uniform<float>, uniform<double>, fine<float>, fine<double>};
}

}  // namespace rdquant::stats
