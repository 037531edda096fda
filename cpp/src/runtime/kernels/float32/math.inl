// Functions of a F32. Errors are below 1e-6 of the
// result's range.
#pragma once

#include "runtime/kernels/vec.inl"

namespace rdquant::runtime::kernels {
namespace {

inline F32 clamp(F32 x, F32 low, F32 high) { return min(high, max(low, x)); }

// e^x = 2^n·e^r, r = x − n·ln(2), |r| ≤ 0.7; the polynomial is that of Cephes' expf (Moshier 1992).
inline F32 exp_of(F32 x, F32 n) {
  const F32 r = fma(n, splat(2.12194440e-4f), fma(n, splat(-0.693359375f), x));
  F32 p = splat(1.9875691500e-4f);
  p = fma(p, r, splat(1.3981999507e-3f));
  p = fma(p, r, splat(8.3334519073e-3f));
  p = fma(p, r, splat(4.1665795894e-2f));
  p = fma(p, r, splat(1.6666665459e-1f));
  p = fma(p, r, splat(5.0000001201e-1f));
  return scale(fma(p, r * r, r + splat(1.0f)), n);
}

// Saturates at 2^-126 and 2^127.
inline F32 exp(F32 x) {
  x = clamp(x, splat(-87.33654f), splat(88.02969f));
  return exp_of(x, round(x * splat(1.44269504088896341f)));
}

// e^x over the whole range of float32; scale() takes no n above 127, beyond which r grows to ln(2).
inline F32 full_exp(F32 x) {
  const F32 most = splat(88.722839f), least = splat(-87.33654f), y = clamp(x, least, most);
  const F32 n = min(splat(127.0f), round(y * splat(1.44269504088896341f)));
  const F32 large = if_negative(most - x, splat(__builtin_inff()), exp_of(y, n));
  return if_negative(x - least, splat(0.0f), large);
}

inline F32 sigmoid(F32 x) { return inverse(splat(1.0f) + exp(splat(0.0f) - x)); }

inline F32 tanh(F32 x) { return splat(1.0f) - splat(2.0f) * inverse(splat(1.0f) + exp(x + x)); }

// A quotient of polynomials, as Eigen has it (MPL 2.0 code not used, coefficients only): |error| ≤ 4.2e-7.
inline F32 erf(F32 x) {
  x = clamp(x, splat(-4.0f), splat(4.0f));
  const F32 s = x * x;
  F32 p = splat(-2.72614225801306e-10f);
  p = fma(p, s, splat(2.77068142495902e-08f));
  p = fma(p, s, splat(-2.10102402082508e-06f));
  p = fma(p, s, splat(-5.69250639462346e-05f));
  p = fma(p, s, splat(-7.34990630326855e-04f));
  p = fma(p, s, splat(-2.95459980854025e-03f));
  p = fma(p, s, splat(-1.60960333262415e-02f));
  F32 q = splat(-1.45660718464996e-05f);
  q = fma(q, s, splat(-2.13374055278905e-04f));
  q = fma(q, s, splat(-1.68282697438203e-03f));
  q = fma(q, s, splat(-7.37332916720468e-03f));
  q = fma(q, s, splat(-1.42647390514189e-02f));
  return x * p * inverse(q);
}

inline F32 mish(F32 x) {
  const F32 e = exp(min(splat(20.0f), x));  // tanh(ln(1 + e)) = (e² + 2e)/(e² + 2e + 2)
  const F32 s = e * (e + splat(2.0f));
  return x * (s * inverse(s + splat(2.0f)));
}

inline F32 gelu_tanh(F32 x) {
  const F32 u = splat(0.7978845608f) * x * fma(x * x, splat(0.044715f), splat(1.0f));
  return splat(0.5f) * x * (splat(1.0f) + tanh(u));
}

// One function for each entry of Function that depends on alpha and beta only.
template <Function F>
inline F32 apply(F32 x, F32 alpha, F32 beta) {
  const F32 zero = splat(0.0f);
  const F32 one = splat(1.0f);
  if constexpr (F == Function::none) return x;
  if constexpr (F == Function::relu) return max(zero, x);
  if constexpr (F == Function::clip) return clamp(x, alpha, beta);
  if constexpr (F == Function::leaky_relu || F == Function::prelu) return if_negative(x, alpha * x, x);
  if constexpr (F == Function::sigmoid) return sigmoid(x);
  if constexpr (F == Function::silu) return x * sigmoid(x);
  if constexpr (F == Function::swish) return x * sigmoid(alpha * x);
  if constexpr (F == Function::hard_swish)
    return x * clamp(fma(x, splat(1.0f / 6.0f), splat(0.5f)), zero, one);
  if constexpr (F == Function::hard_sigmoid) return clamp(fma(x, alpha, beta), zero, one);
  if constexpr (F == Function::tanh) return tanh(x);
  if constexpr (F == Function::elu) return if_negative(x, alpha * (exp(x) - one), x);
  if constexpr (F == Function::gelu_erf) return splat(0.5f) * x * (one + erf(x * splat(0.70710678f)));
  if constexpr (F == Function::gelu_tanh) return gelu_tanh(x);
  if constexpr (F == Function::mish) return mish(x);
  if constexpr (F == Function::exp) return full_exp(x);
  if constexpr (F == Function::erf) return erf(x);
  if constexpr (F == Function::sqrt) return sqrt(x);
  if constexpr (F == Function::reciprocal) return one / x;
  if constexpr (F == Function::abs) return abs(x);
  if constexpr (F == Function::negate) return zero - x;
  if constexpr (F == Function::floor) return floor(x);
  if constexpr (F == Function::ceil) return ceil(x);
}

// Zero at zero: padding lanes, whose sum is zero, stay zero by themselves.
inline bool keeps_zero(const Activation& f) {
  using enum Function;
  switch (f.function) {
    case clip:
      return f.alpha <= 0.0f && f.beta >= 0.0f;
    case hard_sigmoid:
      return f.beta <= 0.0f;
    case sigmoid:
    case exp:
    case reciprocal:
      return false;
    default:
      return true;
  }
}

// Calls body(std::integral_constant<Function, f>).
template <class Body>
inline void with_function(Function f, Body body) {
  using enum Function;
  switch (f) {
#define RDQUANT_CASE(name) \
  case name:               \
    return body(std::integral_constant<Function, name>{});
    RDQUANT_CASE(none)
    RDQUANT_CASE(relu)
    RDQUANT_CASE(clip)
    RDQUANT_CASE(leaky_relu)
    RDQUANT_CASE(prelu)
    RDQUANT_CASE(sigmoid)
    RDQUANT_CASE(silu)
    RDQUANT_CASE(swish)
    RDQUANT_CASE(hard_swish)
    RDQUANT_CASE(hard_sigmoid)
    RDQUANT_CASE(tanh)
    RDQUANT_CASE(elu)
    RDQUANT_CASE(gelu_erf)
    RDQUANT_CASE(gelu_tanh)
    RDQUANT_CASE(mish)
    RDQUANT_CASE(exp)
    RDQUANT_CASE(erf)
    RDQUANT_CASE(sqrt)
    RDQUANT_CASE(reciprocal)
    RDQUANT_CASE(abs)
    RDQUANT_CASE(negate)
    RDQUANT_CASE(floor)
    RDQUANT_CASE(ceil)
#undef RDQUANT_CASE
  }
}

// f over n floats in place or not; the last lanes are read and written alone.
inline void apply_all(const Activation& f, const float* src, float* dst, Index n) {
  const F32 alpha = splat(f.alpha);
  const F32 beta = splat(f.beta);
  with_function(f.function, [&](auto function) {
    constexpr Function kFunction = decltype(function)::value;
    Index i = 0;
    for (; i + kBlock <= n; i += kBlock) store(dst + i, apply<kFunction>(load(src + i), alpha, beta));
    if (i < n) store_some(dst + i, apply<kFunction>(load_some(src + i, n - i), alpha, beta), n - i);
  });
}

}  // namespace
}  // namespace rdquant::runtime::kernels
