#include <algorithm>
#include <numbers>

#include "program/evaluate/steps.hpp"

namespace rdquant::program::plain {
namespace {

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double softplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); }
double gelu_tanh(double x) {
  return 0.5 * x *
         (1 + std::tanh(std::numbers::sqrt2 * std::numbers::inv_sqrtpi * (x + 0.044715 * x * x * x)));
}

/// Functions with parameters and those that are compositions.
double composed(Function function, double a, double b, double x) {
  switch (function) {
    case Function::elu:
      return x < 0 ? a * std::expm1(x) : x;
    case Function::selu:
      return b * (x > 0 ? x : a * std::expm1(x));
    case Function::celu:
      return x < 0 ? a * std::expm1(x / a) : x;
    case Function::gelu:
      return 0.5 * x * (1 + std::erf(x / std::numbers::sqrt2));
    case Function::gelu_tanh:
      return gelu_tanh(x);
    case Function::mish:
      return x * std::tanh(softplus(x));
    case Function::softplus:
      return softplus(x);
    case Function::softsign:
      return x / (1 + std::abs(x));
    case Function::thresholded_relu:
      return x > a ? x : 0;
    case Function::swish:
      return x * sigmoid(a * x);
    case Function::shrink:
      return x < -a ? x + b : x > a ? x - b : 0;
    case Function::sign:
      return x != x ? x : static_cast<double>(x > 0) - static_cast<double>(x < 0);
    case Function::logical_not:
      return x == 0 ? 1 : 0;
    case Function::is_nan:
      return std::isnan(x) ? 1 : 0;
    case Function::is_inf:
      return (a != 0 && x == -INFINITY) || (b != 0 && x == INFINITY) ? 1 : 0;
    default:
      throw core::Unsupported(std::string(function_name(function)) + " is not a function of one float");
  }
}

using Plain = double (*)(double);

/// Functions of the standard library; nullptr where it has none.
Plain library_function(Function function) {
  switch (function) {
    case Function::exp:
      return std::exp;
    case Function::log:
      return std::log;
    case Function::sqrt:
      return std::sqrt;
    case Function::erf:
      return std::erf;
    case Function::abs:
      return std::fabs;
    case Function::floor:
      return std::floor;
    case Function::ceil:
      return std::ceil;
    case Function::round:
      return std::nearbyint;
    case Function::tanh:
      return std::tanh;
    case Function::sin:
      return std::sin;
    case Function::cos:
      return std::cos;
    case Function::tan:
      return std::tan;
    case Function::asin:
      return std::asin;
    case Function::acos:
      return std::acos;
    case Function::atan:
      return std::atan;
    case Function::sinh:
      return std::sinh;
    case Function::cosh:
      return std::cosh;
    case Function::asinh:
      return std::asinh;
    case Function::acosh:
      return std::acosh;
    case Function::atanh:
      return std::atanh;
    default:
      return nullptr;
  }
}

}  // namespace

void activate(const Activation& activation, double* values, std::int64_t count) {
  const double a = activation.a, b = activation.b;
  const auto each = [&](auto f) {
    for (std::int64_t i = 0; i < count; ++i) values[i] = f(values[i]);
  };
  const auto clip = [](double x, double low, double high) {
    x = x < low ? low : x;
    return x > high ? high : x;
  };
  switch (activation.function) {
    case Function::identity:
      return;
    case Function::relu:
      return each([](double x) { return x < 0 ? 0 : x; });
    case Function::clip:
      return each([&](double x) { return clip(x, a, b); });
    case Function::leaky_relu:
      return each([&](double x) { return x < 0 ? a * x : x; });
    case Function::sigmoid:
      return each(sigmoid);
    case Function::silu:
      return each([](double x) { return x * sigmoid(x); });
    case Function::hard_sigmoid:
      return each([&](double x) { return clip(a * x + b, 0, 1); });
    case Function::hard_swish:
      return each([&](double x) { return x * clip(x / 6 + 0.5, 0, 1); });
    case Function::reciprocal:
      return each([](double x) { return 1 / x; });
    case Function::neg:
      return each([](double x) { return -x; });
    default:
      if (const Plain f = library_function(activation.function)) return each(f);
      return each([&](double x) { return composed(activation.function, a, b, x); });
  }
}

}  // namespace rdquant::program::plain
