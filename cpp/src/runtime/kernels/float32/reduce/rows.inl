// Reductions of rows. As many rows as a vector has lanes are added up in a vector each; transposed, these give all
// results at once: rows of a few numbers take no longer than their loads.
#pragma once

#include "runtime/kernels/float32/reduce/terms.inl"

namespace rdquant::runtime::kernels {
namespace {

constexpr Index kPiece = 4096;  // floats of a row that are added in single precision; their sums in double

/// What the lanes of 1 to kPiece floats come to.
template <Term F>
[[gnu::always_inline]] inline F32 lanes_of(const float* x, Index n, F32 shift) {
  constexpr int kParts = 4;  // sums that do not wait for each other
  F32 lanes = neutral<F>();
  if (n >= kParts * kBlock) {
    F32 parts[kParts] = {lanes, lanes, lanes, lanes};
    for (; n >= kParts * kBlock; n -= kParts * kBlock, x += kParts * kBlock) {
      for (int i = 0; i < kParts; ++i) parts[i] = with<F>(parts[i], load(x + i * kBlock), shift);
    }
    lanes = joined<F>(joined<F>(parts[0], parts[1]), joined<F>(parts[2], parts[3]));
  }
  for (; n >= kBlock; n -= kBlock, x += kBlock) lanes = with<F>(lanes, load(x), shift);
  return n == 0 ? lanes : with<F>(lanes, load_first<F>(x, n), shift);
}

/// One result of all lanes, in the order in which `results_of` adds them.
template <Term F, int N>
[[gnu::always_inline]] inline float result_of(simd::Vector<float, N> lanes) {
  if constexpr (N > 4) {
    return result_of<F>(joined<F>(simd::half<0>(lanes), simd::half<1>(lanes)));
  } else {
    using simd::element;
    float low = element(lanes, 0), high = element(lanes, 1);
    const auto join = [](float a, float b) {
      if constexpr (F == Term::min) return a != a || a < b ? a : b;
      if constexpr (F == Term::max) return a != a || a > b ? a : b;
      if constexpr (is_sum(F)) return a + b;
    };
    low = join(low, element(lanes, 2));
    high = join(high, element(lanes, 3));
    return join(low, high);
  }
}

template <Term F>
inline F32 results_of(F32 (&lanes)[kBlock]) {
  simd::transpose(lanes);
#pragma GCC unroll 16
  for (int half = kBlock / 2; half > 0; half /= 2) {
#pragma GCC unroll 16
    for (int i = 0; i < half; ++i) lanes[i] = joined<F>(lanes[i], lanes[i + half]);
  }
  return lanes[0];
}

/// A row of more than kPiece floats.
template <Term F>
inline float long_row(const float* x, Index n, F32 shift) {
  if constexpr (!is_sum(F)) {
    return result_of<F>(lanes_of<F>(x, n, shift));
  } else {
    double total = 0;
    for (Index first = 0; first < n; first += kPiece) {
      const Index count = n - first < kPiece ? n - first : kPiece;
      total += static_cast<double>(result_of<F>(lanes_of<F>(x + first, count, shift)));
    }
    return static_cast<float>(total);
  }
}

/// The results of kBlock rows of 1 to kBlock floats.
template <Term F>
inline F32 short_rows(const float* src, Index length, const float* shifts) {
  F32 lanes[kBlock];
#pragma GCC unroll 16
  for (int row = 0; row < kBlock; ++row) {
    const F32 shift = splat(F == Term::exponential ? shifts[row] : 0.0f);
    lanes[row] = with<F>(neutral<F>(), load_first<F>(src + row * length, length), shift);
  }
  return results_of<F>(lanes);
}

/// The results of 1 to kBlock rows; lanes behind them are not said. `shifts` are read for exponentials only.
template <Term F>
inline F32 group(const float* src, Index length, int count, const float* shifts) {
  constexpr int kTransposed = 3;  // rows for which a transposition is worth it
  const auto shift = [&](int row) { return F == Term::exponential ? splat(shifts[row]) : splat(0.0f); };
  if (length <= kBlock && count == kBlock) return short_rows<F>(src, length, shifts);
  if (length <= kPiece && count > kTransposed) {
    F32 lanes[kBlock];
    for (int row = 0; row < count; ++row) lanes[row] = lanes_of<F>(src + row * length, length, shift(row));
    for (int row = count; row < kBlock; ++row) lanes[row] = lanes[0];
    return results_of<F>(lanes);
  }
  float results[kBlock] = {};
  for (int row = 0; row < count; ++row) {
    const float* const x = src + row * length;
    results[row] = length <= kPiece ? result_of<F>(lanes_of<F>(x, length, shift(row)))
                                    : long_row<F>(x, length, shift(row));
  }
  return load(results);
}

inline float product_of(const float* x, Index n) {
  constexpr int kFactors = 8;
  double parts[kFactors];
  for (double& part : parts) part = 1;
  for (; n >= kFactors; n -= kFactors, x += kFactors) {
    for (int i = 0; i < kFactors; ++i) parts[i] *= static_cast<double>(x[i]);
  }
  for (Index i = 0; i < n; ++i) parts[i] *= static_cast<double>(x[i]);
  double product = 1;
  for (const double part : parts) product *= part;
  return static_cast<float>(product);
}

inline void log_sum_exp_rows(const float* src, Index length, float* dst, int count) {
  float most[kBlock], sums[kBlock];
  store(most, group<Term::max>(src, length, count, nullptr));
  store(sums, group<Term::exponential>(src, length, count, most));
  for (int i = 0; i < count; ++i) dst[i] = log_sum_exp(most[i], sums[i]);
}

// Calls body(first, rows) for groups of rows.
template <class Body>
inline void each_group(Index begin, Index end, Body body) {
  for (Index i = begin; i < end; i += kBlock)
    body(i, end - i < kBlock ? static_cast<int>(end - i) : static_cast<int>(kBlock));
}

void rows(const ReduceArgs& args, const float* src, float* dst, Index begin, Index end) {
  if (args.function == Reduction::product) {
    for (Index i = begin; i < end; ++i) dst[i] = product_of(src + i * args.length, args.length);
  } else if (args.function == Reduction::log_sum_exp) {
    each_group(begin, end, [&](Index i, int count) {
      log_sum_exp_rows(src + i * args.length, args.length, dst + i, count);
    });
  } else {
    with_term(args.function, [&](auto f) {
      each_group(begin, end, [&](Index i, int count) {
        const F32 results = group<f()>(src + i * args.length, args.length, count, nullptr);
        store_some(dst + i, finished<f()>(args, results), count);
      });
    });
  }
}

}  // namespace
}  // namespace rdquant::runtime::kernels
