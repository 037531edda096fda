// Running sums and products. Included by one file per instruction set, which sets RDQUANT_KERNELS_ISA.
#include "runtime/kernels/float32/cumulative/tables.hpp"
#include "runtime/kernels/vec.inl"

namespace rdquant::runtime::kernels {
namespace {

using F64 = simd::Vector<double, kBlock>;

template <bool Product, class T>
[[gnu::always_inline]] inline T joined(T a, T b) {
  if constexpr (Product) {
    return a * b;
  } else {
    return a + b;
  }
}

// Along n numbers, `step` apart, one by one.
template <bool Product>
inline double run(const float* x, float* y, Index n, Index step, bool exclusive, double sum) {
  for (Index i = 0; i < n; ++i) {
    const double next = joined<Product>(sum, static_cast<double>(x[i * step]));
    y[i * step] = static_cast<float>(exclusive ? sum : next);
    sum = next;
  }
  return sum;
}

// Sums by fours, whose own do not wait for what came before: one addition in four does.
template <bool Exclusive>
inline void row_of_sums(const float* x, float* y, Index n, Index step) {
  double sum = 0;
  Index i = 0;
  for (; i + 4 <= n; i += 4, x += 4 * step, y += 4 * step) {
    const double a = x[0], b = x[step], c = x[2 * step], d = x[3 * step];
    const double two = a + b, four = two + (c + d);
    const double sums[5] = {sum, sum + a, sum + two, sum + (two + c), sum + four};
    for (int j = 0; j < 4; ++j) y[j * step] = static_cast<float>(sums[j + (Exclusive ? 0 : 1)]);
    sum = sums[4];
  }
  run<false>(x, y, n - i, step, Exclusive, sum);
}

void rows(const CumulativeArgs& args, const float* src, float* dst, Index begin, Index end) {
  const Index first = args.reverse ? args.length - 1 : 0, step = args.reverse ? -1 : 1;
  for (Index i = begin; i < end; ++i) {
    const float* const x = src + i * args.length + first;
    float* const y = dst + i * args.length + first;
    if (args.product) {
      run<true>(x, y, args.length, step, args.exclusive, 1.0);
    } else if (args.exclusive) {
      row_of_sums<true>(x, y, args.length, step);
    } else {
      row_of_sums<false>(x, y, args.length, step);
    }
  }
}

// kVectors vectors of columns side by side, `step` floats from row to row.
template <bool Product, int kVectors, class Load, class Store>
[[gnu::always_inline]] inline void strip(const CumulativeArgs& args, const float* x, float* y, Index step,
                                         Load load_lanes, Store store_lanes) {
  F64 sum[kVectors];
  for (int v = 0; v < kVectors; ++v) sum[v] = simd::splat_as<F64>(Product ? 1.0 : 0.0);
  for (Index i = 0; i < args.length; ++i, x += step, y += step) {
    for (int v = 0; v < kVectors; ++v) {
      const F64 next = joined<Product>(sum[v], simd::convert<double>(load_lanes(x + v * kBlock)));
      store_lanes(y + v * kBlock, simd::convert<float>(args.exclusive ? sum[v] : next));
      sum[v] = next;
    }
  }
}

template <bool Product>
void all_columns(const CumulativeArgs& args, const float* src, float* dst, Index stride, Index begin,
                 Index end) {
  constexpr int kVectors = kBlock == 16 ? 8 : 4;  // sums of as many fit the registers
  const Index first = args.reverse ? (args.length - 1) * stride : 0, step = args.reverse ? -stride : stride;
  const auto whole = [](const float* p) { return load(p); };
  const auto keep = [](float* p, F32 x) { store(p, x); };
  Index c = begin;
  const auto strips = [&](auto vectors) {
    constexpr int kCount = decltype(vectors)::value;
    for (; c + kCount * kBlock <= end; c += kCount * kBlock)
      strip<Product, kCount>(args, src + first + c, dst + first + c, step, whole, keep);
  };
  // each addition waits for the one before: the fewer strips, the better
  strips(std::integral_constant<int, kVectors>{});
  strips(std::integral_constant<int, 4>{});
  strips(std::integral_constant<int, 2>{});
  strips(std::integral_constant<int, 1>{});
  if (c == end) return;
  strip<Product, 1>(
      args, src + first + c, dst + first + c, step, [=](const float* p) { return load_some(p, end - c); },
      [=](float* p, F32 x) { store_some(p, x, end - c); });
}

void columns(const CumulativeArgs& args, const float* src, float* dst, Index stride, Index begin, Index end) {
  args.product ? all_columns<true>(args, src, dst, stride, begin, end)
               : all_columns<false>(args, src, dst, stride, begin, end);
}

}  // namespace

namespace RDQUANT_KERNELS_ISA {
const Cumulative cumulative = {rows, columns};
}
}  // namespace rdquant::runtime::kernels
