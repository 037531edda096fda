// Included by kernels_<isa>.cpp, which define RDQUANT_KERNELS_ISA. Everything here has
// internal linkage, and nothing from the standard library is called: code built for one instruction set must
// not leak into another. Vectors of eight doubles, which the compiler cuts to what the machine has.

#include <cstring>

#include "stats/kernels.hpp"

namespace rdquant::stats {
namespace {

constexpr int kLanes = 8;
typedef double F64 __attribute__((vector_size(64)));
typedef std::int64_t I64 __attribute__((vector_size(64)));
typedef std::int32_t I32 __attribute__((vector_size(32)));
typedef float F32 __attribute__((vector_size(32)));

inline void load(const float* x, F64& out) {
  F32 narrow;
  std::memcpy(&narrow, x, sizeof narrow);
  out = __builtin_convertvector(narrow, F64);
}
inline void load(const double* x, F64& out) { std::memcpy(&out, x, sizeof out); }

// By reference, since the way in which vectors are passed by value depends on the instruction set.
inline void magnitude(const F64& v, F64& out) { out = (F64)((I64)v & INT64_MAX); }

inline double total(const F64& v) {
  return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));
}

template <typename T>
inline void first_sums(const T* x, std::size_t n, BlockSums& out) {
  F64 sum = {}, sum_abs = {}, low = F64{} + __builtin_inf(), high = -low;
  I64 zeros = {}, bad = {};
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    F64 v, a;
    load(x + i, v);
    magnitude(v, a);
    sum += v;
    sum_abs += a;
    low = v < low ? v : low;
    high = v > high ? v : high;
    zeros -= v == 0.0;
    bad |= ~(a <= __DBL_MAX__);
  }
  double s = total(sum), sa = total(sum_abs), lo = __builtin_inf(), hi = -lo;
  std::int64_t z = 0, wrong = 0;
  for (int l = 0; l < kLanes; ++l) {
    lo = low[l] < lo ? low[l] : lo;
    hi = high[l] > hi ? high[l] : hi;
    z += zeros[l];
    wrong |= bad[l];
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
    F64 v;
    load(x + i, v);
    const F64 d = v - mean;
    const F64 d2 = d * d;
    s1 += d;
    s2 += d2;
    s3 += d2 * d;
    s4 += d2 * d2;
  }
  double t1 = total(s1), t2 = total(s2), t3 = total(s3), t4 = total(s4);
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
  const F64 low = F64{} - 0.5, high = F64{} + (map.last + 1.0);
  const double inner = 0.5 - map.margin;
  I64 unsure = {};
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    F64 v, distance;
    load(x + i, v);
    F64 t = (v - map.offset) * map.scale;
    t = t > low ? t : low;
    t = t < high ? t : high;
    const I32 k = __builtin_convertvector(t, I32);
    magnitude(t - __builtin_convertvector(k, F64) - 0.5, distance);
    unsure |= distance > inner;
    std::memcpy(index + i, &k, sizeof k);
  }
  bool check = i < n;  // at most seven values at the end of an array
  for (int l = 0; l < kLanes; ++l) check |= unsure[l] != 0;
  for (; i < n; ++i) index[i] = 0;
  return check;
}

template <typename T>
void fine(const T* x, std::size_t n, const FineMap& map, std::int32_t* index) {
  constexpr int kShift = 52 - kFineBits;
  const std::int64_t base = std::int64_t{1023} << kFineBits;
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    F64 v, a;
    load(x + i, v);
    const F64 d = v - map.centre;
    magnitude(d, a);
    const I64 k = ((I64)(a * map.scale + 1.0) >> kShift) - base;
    const I64 mirrored = d < 0.0;  // all ones on the lower side: half - 1 - k = half + ~k
    const I32 bin = __builtin_convertvector((k ^ mirrored) + map.half, I32);
    std::memcpy(index + i, &bin, sizeof bin);
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
