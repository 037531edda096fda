// Sums and extremes along one axis. Included by one file per instruction set, which sets RDQUANT_KERNELS_ISA.
#include <type_traits>

#include "runtime/kernels/float32/math.inl"
#include "runtime/kernels/float32/reduce/tables.hpp"

namespace rdquant::runtime::kernels {
namespace {

constexpr bool is_sum(Reduction f) { return f != Reduction::min && f != Reduction::max; }

// Calls body(std::integral_constant<Reduction, f>).
template <class Body>
inline void with_reduction(Reduction f, Body body) {
  switch (f) {
    case Reduction::sum:
      return body(std::integral_constant<Reduction, Reduction::sum>{});
    case Reduction::absolute:
      return body(std::integral_constant<Reduction, Reduction::absolute>{});
    case Reduction::square:
      return body(std::integral_constant<Reduction, Reduction::square>{});
    case Reduction::min:
      return body(std::integral_constant<Reduction, Reduction::min>{});
    case Reduction::max:
      return body(std::integral_constant<Reduction, Reduction::max>{});
  }
}

// `most` and what x adds to it.
template <Reduction F>
[[gnu::always_inline]] inline F32 with(F32 most, F32 x) {
  if constexpr (F == Reduction::sum) return most + x;
  if constexpr (F == Reduction::absolute) return most + abs(x);
  if constexpr (F == Reduction::square) return fma(x, x, most);
  if constexpr (F == Reduction::min) return min_or_nan(most, x);
  if constexpr (F == Reduction::max) return max_or_nan(most, x);
}

template <Reduction F>
[[gnu::always_inline]] inline float with(float most, float x) {
  if constexpr (F == Reduction::sum) return most + x;
  if constexpr (F == Reduction::absolute) return most + __builtin_fabsf(x);
  if constexpr (F == Reduction::square) return most + x * x;
  if constexpr (F == Reduction::min) return most != most || most < x ? most : x;
  if constexpr (F == Reduction::max) return most != most || most > x ? most : x;
}

// The same of two results.
template <Reduction F>
[[gnu::always_inline]] inline float with_part(float most, float part) {
  if constexpr (is_sum(F)) return most + part;
  return with<F>(most, part);
}

template <Reduction F>
inline float finish(const ReduceArgs& args, float result) {
  if constexpr (is_sum(F)) result *= args.factor;
  return args.root ? __builtin_sqrtf(result) : result;
}

constexpr Index kPiece = 4096;  // floats of a row that are added in single precision; their sums in double

// Of `n` floats, 1 to kPiece.
template <Reduction F>
inline float piece(const float* x, Index n) {
  float result = is_sum(F) ? 0.0f : x[0];
  const int rest = static_cast<int>(n % kBlock);
  const float* const end = x + (n - rest);
  if (x != end) {
    F32 lanes = is_sum(F) ? splat(0.0f) : load(x);
    for (; x != end; x += kBlock) lanes = with<F>(lanes, load(x));
    float each[kBlock];
    store(each, lanes);
    for (const float lane : each) result = with_part<F>(result, lane);
  }
  for (int i = 0; i < rest; ++i) result = with<F>(result, end[i]);
  return result;
}

template <Reduction F>
inline float row(const float* x, Index n) {
  if (n <= kPiece) return piece<F>(x, n);
  if constexpr (!is_sum(F)) {
    float result = piece<F>(x, kPiece);
    for (Index first = kPiece; first < n; first += kPiece)
      result = with<F>(result, piece<F>(x + first, n - first < kPiece ? n - first : kPiece));
    return result;
  } else {
    double total = 0;
    for (Index first = 0; first < n; first += kPiece)
      total += static_cast<double>(piece<F>(x + first, n - first < kPiece ? n - first : kPiece));
    return static_cast<float>(total);
  }
}

void rows(const ReduceArgs& args, const float* src, float* dst, Index begin, Index end) {
  with_reduction(args.function, [&](auto f) {
    for (Index i = begin; i < end; ++i)
      dst[i] = finish<f()>(args, row<f()>(src + i * args.length, args.length));
  });
}

constexpr Index kRun = 256;  // numbers of a column that are added one to the other; then their sums

// kVectors vectors of columns side by side: a cache line and more of each row.
template <Reduction F, int kVectors>
[[gnu::always_inline]] inline void strip(const ReduceArgs& args, const float* x, float* y, Index stride) {
  F32 total[kVectors];
  for (int v = 0; v < kVectors; ++v) total[v] = is_sum(F) ? splat(0.0f) : load(x + v * kBlock);
  for (Index first = 0; first < args.length; first += kRun) {
    const Index last = first + kRun < args.length ? first + kRun : args.length;
    F32 part[kVectors];
    for (int v = 0; v < kVectors; ++v) part[v] = is_sum(F) ? splat(0.0f) : total[v];
    for (Index i = first; i < last; ++i) {
      for (int v = 0; v < kVectors; ++v) part[v] = with<F>(part[v], load(x + i * stride + v * kBlock));
    }
    for (int v = 0; v < kVectors; ++v) total[v] = is_sum(F) ? total[v] + part[v] : part[v];
  }
  for (int v = 0; v < kVectors; ++v) {
    if constexpr (is_sum(F)) total[v] = total[v] * splat(args.factor);
    store(y + v * kBlock, args.root ? sqrt(total[v]) : total[v]);
  }
}

template <Reduction F>
inline float column(const ReduceArgs& args, const float* x, Index stride) {
  double total = is_sum(F) ? 0.0 : static_cast<double>(x[0]);
  for (Index i = 0; i < args.length; ++i) {
    if constexpr (is_sum(F)) {
      total += static_cast<double>(with<F>(0.0f, x[i * stride]));
    } else {
      total = static_cast<double>(with<F>(static_cast<float>(total), x[i * stride]));
    }
  }
  return finish<F>(args, static_cast<float>(total));
}

void columns(const ReduceArgs& args, const float* src, float* dst, Index stride, Index begin, Index end) {
  with_reduction(args.function, [&](auto f) {
    Index i = begin;
    for (; i + 4 * kBlock <= end; i += 4 * kBlock) strip<f(), 4>(args, src + i, dst + i, stride);
    for (; i + kBlock <= end; i += kBlock) strip<f(), 1>(args, src + i, dst + i, stride);
    for (; i < end; ++i) dst[i] = column<f()>(args, src + i, stride);
  });
}

}  // namespace

namespace RDQUANT_KERNELS_ISA {
const Reduce reduce = {.block = kBlock, .rows = rows, .columns = columns};
}
}  // namespace rdquant::runtime::kernels
