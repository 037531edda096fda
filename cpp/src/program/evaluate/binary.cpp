#include <array>

#include "program/evaluate/steps.hpp"
#include "program/evaluate/walk.hpp"

namespace rdquant::program::plain {
namespace {

struct Operands {
  const TensorView &a, &b;
  const MutableTensorView& y;
  int threads;

  [[nodiscard]] Walk<3> walk() const {
    return {
        y.shape,
        {dense_strides(y.shape), broadcast_strides(a.shape, y.shape), broadcast_strides(b.shape, y.shape)}};
  }
};

/// y = activation(f(a, b)) in double, rounded once.
template <typename T, typename F>
void map_floats(const Operands& o, const Activation& activation, F f) {
  o.walk().rows(o.threads, [&](std::int64_t count, const auto& offset, const auto& step) {
    std::array<double, kChunk> chunk;
    const T *a = o.a.as<T>() + offset[1], *b = o.b.as<T>() + offset[2];
    T* y = o.y.as<T>() + offset[0];
    for (std::int64_t begin = 0; begin < count; begin += kChunk) {
      const std::int64_t size = std::min(kChunk, count - begin);
      double* sums = chunk.data();
      for (std::int64_t i = 0; i < size; ++i) {
        sums[i] = f(convert<double>(a[(begin + i) * step[1]]), convert<double>(b[(begin + i) * step[2]]));
      }
      activate(activation, sums, size);
      for (std::int64_t i = 0; i < size; ++i) y[begin + i] = convert<T>(sums[i]);
    }
  });
}

/// y = activation(f(a, b)), of the inputs' integer type.
template <typename T, typename F>
void map_integers(const Operands& o, const Activation& activation, F f) {
  o.walk().rows(o.threads, [&](std::int64_t count, const auto& offset, const auto& step) {
    const T *a = o.a.as<T>() + offset[1], *b = o.b.as<T>() + offset[2];
    T* y = o.y.as<T>() + offset[0];
    for (std::int64_t i = 0; i < count; ++i) y[i] = static_cast<T>(f(a[i * step[1]], b[i * step[2]]));
    activate_integers(activation, y, count);
  });
}

/// y = f(a, b) as booleans.
template <typename T, typename F>
void map_predicate(const Operands& o, F f) {
  o.walk().rows(o.threads, [&](std::int64_t count, const auto& offset, const auto& step) {
    const T *a = o.a.as<T>() + offset[1], *b = o.b.as<T>() + offset[2];
    Boolean* y = o.y.as<Boolean>() + offset[0];
    for (std::int64_t i = 0; i < count; ++i) y[i] = Boolean(f(a[i * step[1]], b[i * step[2]]));
  });
}

double floored_modulo(double a, double b) {
  const double rest = std::fmod(a, b);
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

template <typename T>
void compute_floats(const Binary& step, const Operands& o) {
  const auto map = [&](auto f) { map_floats<T>(o, step.activation, f); };
  switch (step.function) {
    case BinaryFunction::add:
      return map([](double a, double b) { return a + b; });
    case BinaryFunction::sub:
      return map([](double a, double b) { return a - b; });
    case BinaryFunction::mul:
      return map([](double a, double b) { return a * b; });
    case BinaryFunction::div:
      return map([](double a, double b) { return a / b; });
    case BinaryFunction::min:
      return map([](double a, double b) { return a != a || a < b ? a : b; });
    case BinaryFunction::max:
      return map([](double a, double b) { return a != a || a > b ? a : b; });
    case BinaryFunction::mod:
      return map(floored_modulo);
    case BinaryFunction::fmod:
      return map([](double a, double b) { return std::fmod(a, b); });
    case BinaryFunction::prelu:
      return map([](double a, double b) { return a < 0 ? a * b : a; });
    default:
      refuse(function_name(step.function), o.a.dtype);
  }
}

/// Towards zero; 0 for a divisor of 0, and the wrapped −2^(bits−1) where its negative does not fit.
template <typename T>
T quotient(T a, T b) {
  if (b == 0) return 0;
  if constexpr (std::is_signed_v<T>) {
    if (b == -1) return static_cast<T>(-static_cast<std::uint64_t>(a));
  }
  return static_cast<T>(a / b);
}

/// With the sign of the dividend; 0 for a divisor of 0.
template <typename T>
T remainder(T a, T b) {
  if (b == 0) return 0;
  if constexpr (std::is_signed_v<T>) {
    if (b == -1) return 0;
  }
  return static_cast<T>(a % b);
}

template <typename T>
T floored_modulo_integer(T a, T b) {
  const T rest = remainder(a, b);
  return rest != 0 && (rest < 0) != (b < 0) ? static_cast<T>(rest + b) : rest;
}

/// Left where `left`, else right with the sign filled in. By `b` beyond the width, or negative, all bits go.
template <typename T>
T shift(T a, T b, bool left) {
  const auto by = static_cast<std::make_unsigned_t<T>>(b);
  if (by >= sizeof(T) * 8) return static_cast<T>(!left && a < 0 ? -1 : 0);
  return static_cast<T>(left ? static_cast<std::uint64_t>(a) << by : static_cast<std::uint64_t>(a >> by));
}

/// Sums and products modulo 2^64, of which the low bits are stored: what integers of any width give.
template <typename T>
void compute_integers(const Binary& step, const Operands& o) {
  using Wide = std::uint64_t;
  const auto map = [&](auto f) { map_integers<T>(o, step.activation, f); };
  switch (step.function) {
    case BinaryFunction::add:
      return map([](T a, T b) { return static_cast<Wide>(a) + static_cast<Wide>(b); });
    case BinaryFunction::sub:
      return map([](T a, T b) { return static_cast<Wide>(a) - static_cast<Wide>(b); });
    case BinaryFunction::mul:
      return map([](T a, T b) { return static_cast<Wide>(a) * static_cast<Wide>(b); });
    case BinaryFunction::div:
      return map(quotient<T>);
    case BinaryFunction::min:
      return map([](T a, T b) { return std::min(a, b); });
    case BinaryFunction::max:
      return map([](T a, T b) { return std::max(a, b); });
    case BinaryFunction::mod:
      return map(floored_modulo_integer<T>);
    case BinaryFunction::fmod:
      return map(remainder<T>);
    case BinaryFunction::prelu:
      return map([](T a, T b) {
        return a < T{0} ? static_cast<Wide>(a) * static_cast<Wide>(b) : static_cast<Wide>(a);
      });
    case BinaryFunction::bitwise_and:
      return map([](T a, T b) { return a & b; });
    case BinaryFunction::bitwise_or:
      return map([](T a, T b) { return a | b; });
    case BinaryFunction::bitwise_xor:
      return map([](T a, T b) { return a ^ b; });
    case BinaryFunction::shift_left:
      return map([](T a, T b) { return shift(a, b, true); });
    case BinaryFunction::shift_right:
      return map([](T a, T b) { return shift(a, b, false); });
    default:
      refuse(function_name(step.function), o.a.dtype);
  }
}

bool is_predicate(BinaryFunction function) {
  switch (function) {
    case BinaryFunction::equal:
    case BinaryFunction::less:
    case BinaryFunction::less_equal:
    case BinaryFunction::greater:
    case BinaryFunction::greater_equal:
    case BinaryFunction::logical_and:
    case BinaryFunction::logical_or:
    case BinaryFunction::logical_xor:
      return true;
    default:
      return false;
  }
}

template <typename T>
void compute_predicate(BinaryFunction function, const Operands& o) {
  const auto map = [&](auto f) { map_predicate<T>(o, f); };
  switch (function) {
    case BinaryFunction::equal:
      return map([](T a, T b) { return a == b; });
    case BinaryFunction::less:
      return map([](T a, T b) { return a < b; });
    case BinaryFunction::less_equal:
      return map([](T a, T b) { return a <= b; });
    case BinaryFunction::greater:
      return map([](T a, T b) { return a > b; });
    case BinaryFunction::greater_equal:
      return map([](T a, T b) { return a >= b; });
    case BinaryFunction::logical_and:
      return map([](T a, T b) { return a != T{} && b != T{}; });
    case BinaryFunction::logical_or:
      return map([](T a, T b) { return a != T{} || b != T{}; });
    case BinaryFunction::logical_xor:
      return map([](T a, T b) { return (a != T{}) != (b != T{}); });
    default:
      refuse(function_name(function), o.a.dtype);
  }
}

/// a^b for b ≥ 0 modulo 2^64, by squaring.
std::uint64_t whole_power(std::uint64_t base, std::uint64_t exponent) {
  std::uint64_t result = 1;
  for (; exponent != 0; exponent >>= 1U, base *= base) {
    if ((exponent & 1U) != 0) result *= base;
  }
  return result;
}

/// a of the result's type, b of any: integers by integers exactly, all else in double.
void compute_power(const Activation& activation, const Operands& o) {
  const bool whole = !is_float(o.a.dtype) && !is_float(o.b.dtype);
  const std::vector<double> real = whole ? std::vector<double>{} : numbers(o.b);
  const std::vector<std::int64_t> exact = whole ? integers(o.b) : std::vector<std::int64_t>{};
  with_type(o.a.dtype, [&]<typename T>(Type<T>) {
    o.walk().elements(o.threads, [&](const auto& offset) {
      const T a = o.a.as<T>()[offset[1]];
      const auto b = static_cast<std::size_t>(offset[2]);
      T& y = o.y.as<T>()[offset[0]];
      if constexpr (kIsInteger<T>) {
        if (whole && exact[b] >= 0) {
          y = static_cast<T>(
              whole_power(static_cast<std::uint64_t>(a), static_cast<std::uint64_t>(exact[b])));
        } else {
          y = saturate<T>(std::pow(static_cast<double>(a), whole ? static_cast<double>(exact[b]) : real[b]));
        }
        activate_integers(activation, &y, 1);
      } else if constexpr (kIsFloat<T>) {
        double power = std::pow(convert<double>(a), real[b]);
        activate(activation, &power, 1);
        y = convert<T>(power);
      } else {
        refuse("pow", o.a.dtype);
      }
    });
  });
}

}  // namespace

void compute(const Binary& step, Inputs inputs, Outputs outputs, int threads) {
  const Operands o{inputs[0], inputs[1], outputs[0], threads};
  if (step.function == BinaryFunction::pow) return compute_power(step.activation, o);
  if (o.a.dtype != o.b.dtype) {
    throw core::Unsupported(std::string(function_name(step.function)) + " of " +
                            std::string(core::dtype_name(o.a.dtype)) + " and " +
                            std::string(core::dtype_name(o.b.dtype)) + ": both must have one type");
  }
  with_type(o.a.dtype, [&]<typename T>(Type<T>) {
    if (is_predicate(step.function)) {
      compute_predicate<T>(step.function, o);
    } else if constexpr (kIsFloat<T>) {
      compute_floats<T>(step, o);
    } else if constexpr (kIsInteger<T>) {
      compute_integers<T>(step, o);
    } else {
      refuse(function_name(step.function), o.a.dtype);
    }
  });
}

void compute(const Where&, Inputs inputs, Outputs outputs, int threads) {
  const TensorView &condition = inputs[0], &x = inputs[1], &z = inputs[2];
  const MutableTensorView& y = outputs[0];
  const Walk<4> walk(y.shape, {dense_strides(y.shape), broadcast_strides(condition.shape, y.shape),
                               broadcast_strides(x.shape, y.shape), broadcast_strides(z.shape, y.shape)});
  with_type(y.dtype, [&]<typename T>(Type<T>) {
    walk.elements(threads, [&](const auto& offset) {
      y.as<T>()[offset[0]] = condition.as<Boolean>()[offset[1]] ? x.as<T>()[offset[2]] : z.as<T>()[offset[3]];
    });
  });
}

}  // namespace rdquant::program::plain
