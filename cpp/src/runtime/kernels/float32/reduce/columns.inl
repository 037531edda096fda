// Reductions of columns that lie side by side.
#pragma once

#include "runtime/kernels/float32/reduce/terms.inl"

namespace rdquant::runtime::kernels {
namespace {

constexpr Index kRun = 256;  // numbers of a column that are added one to the other; then their sums

/// Some columns: kVectors vectors, a cache line and more of each row, or the first `count` of one (kVectors = 0).
template <int kVectors>
struct Columns {
  static constexpr int kCount = kVectors == 0 ? 1 : kVectors;
  const float* x;
  Index length, stride, count;

  template <Term F>
  [[gnu::always_inline]] F32 at(Index row, int v) const {
    const float* const p = x + row * stride + v * kBlock;
    if constexpr (kVectors == 0) return load_first<F>(p, count);
    return load(p);
  }

  template <Term F>
  [[gnu::always_inline]] void reduce(const F32 (&shift)[kCount], F32 (&total)[kCount]) const {
    for (int v = 0; v < kCount; ++v) total[v] = neutral<F>();
    for (Index first = 0; first < length; first += kRun) {
      const Index last = first + kRun < length ? first + kRun : length;
      F32 part[kCount];
      for (int v = 0; v < kCount; ++v) part[v] = neutral<F>();
      for (Index i = first; i < last; ++i) {
        for (int v = 0; v < kCount; ++v) part[v] = with<F>(part[v], at<F>(i, v), shift[v]);
      }
      for (int v = 0; v < kCount; ++v) total[v] = joined<F>(total[v], part[v]);
    }
  }

  [[gnu::always_inline]] void put(float* y, int v, F32 value) const {
    if constexpr (kVectors == 0) return store_some(y, value, count);
    store(y + v * kBlock, value);
  }
};

template <Term F, int kVectors>
inline void strip(const ReduceArgs& args, const Columns<kVectors>& columns, float* y) {
  F32 total[Columns<kVectors>::kCount], none[Columns<kVectors>::kCount] = {};
  columns.template reduce<F>(none, total);
  for (int v = 0; v < columns.kCount; ++v) columns.put(y, v, finished<F>(args, total[v]));
}

template <int kVectors>
inline void log_sum_exp_strip(const Columns<kVectors>& columns, float* y) {
  F32 none[Columns<kVectors>::kCount] = {}, most[Columns<kVectors>::kCount], total[Columns<kVectors>::kCount];
  columns.template reduce<Term::max>(none, most);
  columns.template reduce<Term::exponential>(most, total);
  for (int v = 0; v < columns.kCount; ++v) {
    float shifts[kBlock], sums[kBlock];
    store(shifts, most[v]);
    store(sums, total[v]);
    for (int i = 0; i < kBlock; ++i) sums[i] = log_sum_exp(shifts[i], sums[i]);
    columns.put(y, v, load(sums));
  }
}

inline void product_strip(const float* x, Index length, Index stride, Index count, float* y) {
  double product[kBlock];
  for (double& p : product) p = 1;
  for (Index i = 0; i < length; ++i) {
    for (Index lane = 0; lane < count; ++lane) product[lane] *= static_cast<double>(x[i * stride + lane]);
  }
  for (Index lane = 0; lane < count; ++lane) y[lane] = static_cast<float>(product[lane]);
}

// Calls body(columns, first) for strips of columns.
template <class Body>
inline void each_strip(const float* src, Index length, Index stride, Index begin, Index end, Body body) {
  Index i = begin;
  for (; i + 4 * kBlock <= end; i += 4 * kBlock) body(Columns<4>{src + i, length, stride, 4 * kBlock}, i);
  for (; i + kBlock <= end; i += kBlock) body(Columns<1>{src + i, length, stride, kBlock}, i);
  if (i < end) body(Columns<0>{src + i, length, stride, end - i}, i);
}

void columns(const ReduceArgs& args, const float* src, float* dst, Index stride, Index begin, Index end) {
  if (args.function == Reduction::product) {
    for (Index i = begin; i < end; i += kBlock)
      product_strip(src + i, args.length, stride, end - i < kBlock ? end - i : kBlock, dst + i);
  } else if (args.function == Reduction::log_sum_exp) {
    each_strip(src, args.length, stride, begin, end,
               [&](const auto& some, Index i) { log_sum_exp_strip(some, dst + i); });
  } else {
    with_term(args.function, [&](auto f) {
      each_strip(src, args.length, stride, begin, end,
                 [&](const auto& some, Index i) { strip<f()>(args, some, dst + i); });
    });
  }
}

}  // namespace
}  // namespace rdquant::runtime::kernels
