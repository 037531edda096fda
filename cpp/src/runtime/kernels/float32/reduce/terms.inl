// What a reduction adds for each number, in vectors and in single numbers.
#pragma once

#include <type_traits>

#include "runtime/kernels/float32/math.inl"
#include "runtime/kernels/float32/reduce/reduce.hpp"

namespace rdquant::runtime::kernels {
namespace {

/// What vectors are reduced by; `exponential` is Σ e^(x − shift).
enum class Term { sum, absolute, square, exponential, min, max };

constexpr bool is_sum(Term f) { return f != Term::min && f != Term::max; }

// Calls body(std::integral_constant<Term, f>) for all but products and logarithms of exponentials.
template <class Body>
inline void with_term(Reduction f, Body body) {
  switch (f) {
    case Reduction::absolute:
      return body(std::integral_constant<Term, Term::absolute>{});
    case Reduction::square:
      return body(std::integral_constant<Term, Term::square>{});
    case Reduction::min:
      return body(std::integral_constant<Term, Term::min>{});
    case Reduction::max:
      return body(std::integral_constant<Term, Term::max>{});
    default:
      return body(std::integral_constant<Term, Term::sum>{});
  }
}

/// What a result begins with.
template <Term F>
[[gnu::always_inline]] inline F32 neutral() {
  if constexpr (F == Term::min) return splat(__builtin_inff());
  if constexpr (F == Term::max) return splat(-__builtin_inff());
  return splat(0.0f);
}

/// `most` and what x adds to it.
template <Term F>
[[gnu::always_inline]] inline F32 with(F32 most, F32 x, F32 shift) {
  if constexpr (F == Term::sum) return most + x;
  if constexpr (F == Term::absolute) return most + abs(x);
  if constexpr (F == Term::square) return fma(x, x, most);
  if constexpr (F == Term::exponential) return most + exp(x - shift);
  if constexpr (F == Term::min) return min_or_nan(most, x);
  if constexpr (F == Term::max) return max_or_nan(most, x);
}

/// Two results as one.
template <Term F, class V>
[[gnu::always_inline]] inline V joined(V a, V b) {
  if constexpr (F == Term::min) return min_or_nan(a, b);
  if constexpr (F == Term::max) return max_or_nan(a, b);
  if constexpr (is_sum(F)) return a + b;
}

/// The first n floats, 1 ≤ n ≤ kBlock, followed by what changes no result.
template <Term F>
[[gnu::always_inline]] inline F32 load_first(const float* p, Index n) {
  const F32 x = load_some(p, n);
  if constexpr (F == Term::min || F == Term::max)
    return select(simd::mask_of_first(static_cast<std::size_t>(n)), x, neutral<F>());
  if constexpr (F == Term::exponential)
    return select(simd::mask_of_first(static_cast<std::size_t>(n)), x, splat(-__builtin_inff()));
  return x;
}

/// Results, of sums multiplied and finished.
template <Term F>
inline F32 finished(const ReduceArgs& args, F32 result) {
  if constexpr (is_sum(F)) {
    result = result * splat(args.factor);
    if (args.finish == Finish::root) return sqrt(result);
    if (args.finish == Finish::logarithm) {
      float each[kBlock];
      store(each, result);
      for (float& x : each) x = static_cast<float>(__builtin_log(static_cast<double>(x)));
      return load(each);
    }
  }
  return result;
}

/// ln Σ eˣ from the largest x and Σ e^(x − largest).
inline float log_sum_exp(float most, float sum) {
  if (most != most || most - most != 0.0f) return most;  // NaN and infinities
  return most + static_cast<float>(__builtin_log(static_cast<double>(sum)));
}

}  // namespace
}  // namespace rdquant::runtime::kernels
