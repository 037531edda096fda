#pragma once

#include "runtime/kernels/float32/kernels.hpp"

/// Elementary functions that are no activations of layers, and powers. Like Kernels: no allocation, no threads.
namespace rdquant::runtime::kernels {

/// `a` and `b` are the parameters of those that have some.
enum class Elementary {
  log,
  softplus,          ///< ln(1 + e^x)
  selu,              ///< b·(x > 0 ? x : a·(e^x − 1))
  celu,              ///< x < 0: a·(e^(x/a) − 1)
  softsign,          ///< x/(1 + |x|)
  thresholded_relu,  ///< x > a ? x : 0
  shrink,            ///< x < −a: x + b, x > a: x − b, else 0
  sign,
  round,  ///< ties to even
  sin,
  cos,
  tan,
  asin,
  acos,
  atan,
  sinh,
  cosh,
  asinh,
  acosh,
  atanh,
};

/// The kernels of one instruction set.
struct ElementaryKernels {
  /// y[i] = f(x[i]) for i < n within 5 units in the last place, or 0 for a subnormal number; y may be x.
  void (*unary)(Elementary f, float a, float b, const float* x, float* y, Index n);
};

/// The kernels for `isa`, which this processor must have (core::available_isa).
[[nodiscard]] const ElementaryKernels& elementary(core::Isa isa);

}  // namespace rdquant::runtime::kernels
