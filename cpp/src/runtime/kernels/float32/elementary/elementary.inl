// Elementary functions. Included by one file per instruction set, which sets RDQUANT_KERNELS_ISA.
#include "runtime/kernels/float32/elementary/logarithm.inl"
#include "runtime/kernels/float32/elementary/tables.hpp"
#include "runtime/kernels/float32/elementary/trigonometry.inl"

namespace rdquant::runtime::kernels {
namespace {

template <Elementary F>
inline F32 elementary_of(F32 x, F32 a, F32 b) {
  const F32 zero = splat(0.0f), one = splat(1.0f);
  if constexpr (F == Elementary::log) return log(x);
  if constexpr (F == Elementary::softplus) return softplus(x);
  if constexpr (F == Elementary::selu) return b * if_negative(x, a * exp_minus_one(x), x);
  if constexpr (F == Elementary::celu) return if_negative(x, a * exp_minus_one(x / a), x);
  if constexpr (F == Elementary::softsign) return x / (one + abs(x));
  if constexpr (F == Elementary::thresholded_relu) return select(a < x, x, zero);
  if constexpr (F == Elementary::shrink) return select(x < zero - a, x + b, select(a < x, x - b, zero));
  if constexpr (F == Elementary::sign) return select(zero < x, one, if_negative(x, -one, x + zero));
  if constexpr (F == Elementary::round) return round(x);
  if constexpr (F == Elementary::sin) return sin(x);
  if constexpr (F == Elementary::cos) return cos(x);
  if constexpr (F == Elementary::tan) return tan(x);
  if constexpr (F == Elementary::asin) return asin(x);
  if constexpr (F == Elementary::acos) return acos(x);
  if constexpr (F == Elementary::atan) return atan(x);
  if constexpr (F == Elementary::sinh) return sinh(x);
  if constexpr (F == Elementary::cosh) return cosh(x);
  if constexpr (F == Elementary::asinh) return asinh(x);
  if constexpr (F == Elementary::acosh) return acosh(x);
  if constexpr (F == Elementary::atanh) return atanh(x);
}

template <Elementary F>
void elementary_all(float a, float b, const float* x, float* y, Index n) {
  const F32 a_all = splat(a), b_all = splat(b);
  Index i = 0;
  for (; i + kBlock <= n; i += kBlock) store(y + i, elementary_of<F>(load(x + i), a_all, b_all));
  if (i < n) store_some(y + i, elementary_of<F>(load_some(x + i, n - i), a_all, b_all), n - i);
}

void elementary_unary(Elementary f, float a, float b, const float* x, float* y, Index n) {
  using enum Elementary;
  switch (f) {
#define RDQUANT_CASE(name) \
  case Elementary::name:   \
    return elementary_all<Elementary::name>(a, b, x, y, n);
    RDQUANT_CASE(log)
    RDQUANT_CASE(softplus)
    RDQUANT_CASE(selu)
    RDQUANT_CASE(celu)
    RDQUANT_CASE(softsign)
    RDQUANT_CASE(thresholded_relu)
    RDQUANT_CASE(shrink)
    RDQUANT_CASE(sign)
    RDQUANT_CASE(round)
    RDQUANT_CASE(sin)
    RDQUANT_CASE(cos)
    RDQUANT_CASE(tan)
    RDQUANT_CASE(asin)
    RDQUANT_CASE(acos)
    RDQUANT_CASE(atan)
    RDQUANT_CASE(sinh)
    RDQUANT_CASE(cosh)
    RDQUANT_CASE(asinh)
    RDQUANT_CASE(acosh)
    RDQUANT_CASE(atanh)
#undef RDQUANT_CASE
  }
}

}  // namespace

namespace RDQUANT_KERNELS_ISA {
const ElementaryKernels elementary = {elementary_unary};
}
}  // namespace rdquant::runtime::kernels
