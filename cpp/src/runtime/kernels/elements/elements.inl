// Loops over elements of any type, which the compiler turns into vectors. Included by one file per instruction set, which
// sets RDQUANT_KERNELS_ISA.
#include <cstdint>
#include <type_traits>

#include "rdquant/core/half.hpp"
#include "runtime/kernels/elements/tables.hpp"

namespace rdquant::runtime::kernels {
namespace {

struct Truth {
  std::uint8_t byte;
};

// What an element is computed with.
template <class T>
[[gnu::always_inline]] inline auto value_of(T x) {
  if constexpr (std::is_same_v<T, Truth>) {
    return static_cast<std::uint8_t>(x.byte != 0);
  } else {
    return x;
  }
}

// Calls body(a type of elements).
template <class Body>
inline void with_element(ElementType type, Body body) {
  switch (type) {
    case ElementType::f32:
      return body(float{});
    case ElementType::i32:
      return body(std::int32_t{});
    case ElementType::i64:
      return body(std::int64_t{});
    case ElementType::u8:
      return body(std::uint8_t{});
    case ElementType::i8:
      return body(std::int8_t{});
    case ElementType::boolean:
      return body(Truth{});
  }
}

// y = f(a, b) of elements T, to elements To.
template <class T, class To, class F>
inline void map(const ElementRows& k, F f) {
  for (Index r = 0; r < k.rows; ++r) {
    const T* const a = static_cast<const T*>(k.from[0]) + r * k.row[0];
    const T* const b = static_cast<const T*>(k.from[1]) + r * k.row[1];
    To* const __restrict y = static_cast<To*>(k.to) + r * k.count;
    if (k.step[0] == 1 && k.step[1] == 1) {
      for (Index i = 0; i < k.count; ++i) y[i] = f(value_of(a[i]), value_of(b[i]));
    } else if (k.step[0] == 1) {
      const auto all = value_of(*b);
      for (Index i = 0; i < k.count; ++i) y[i] = f(value_of(a[i]), all);
    } else {
      const auto all = value_of(*a);
      for (Index i = 0; i < k.count; ++i) y[i] = f(all, value_of(b[i * k.step[1]]));
    }
  }
}

// Towards zero; division of 32 bits where both fit, which takes a fraction of the time. Wraps where the result does not fit.
template <class T>
[[gnu::always_inline]] inline T quotient(T a, T b) {
  if (b == 0) return 0;
  if (b == -1) return static_cast<T>(-static_cast<std::uint64_t>(a));
  const auto short_a = static_cast<std::int32_t>(a), short_b = static_cast<std::int32_t>(b);
  if (short_a == a && short_b == b) return short_a / short_b;
  return a / b;
}
template <class T>
[[gnu::always_inline]] inline T remainder(T a, T b) {
  return b == 0 ? T{0} : static_cast<T>(a - quotient(a, b) * b);
}
template <class T>
[[gnu::always_inline]] inline T floored_remainder(T a, T b) {
  const T rest = b == -1 ? T{0} : remainder(a, b);
  return rest != 0 && (rest < 0) != (b < 0) ? static_cast<T>(rest + b) : rest;
}

template <class T>
void integers(ElementFunction f, const ElementRows& k) {
  using Wide = std::make_unsigned_t<T>;  // whose sums and products may wrap
  const auto wide = [&](auto g) {
    map<T, T>(k, [g](T a, T b) { return static_cast<T>(g(static_cast<Wide>(a), static_cast<Wide>(b))); });
  };
  switch (f) {
    case ElementFunction::add:
      return wide([](Wide a, Wide b) { return a + b; });
    case ElementFunction::sub:
      return wide([](Wide a, Wide b) { return a - b; });
    case ElementFunction::mul:
      return wide([](Wide a, Wide b) { return a * b; });
    case ElementFunction::bitwise_and:
      return wide([](Wide a, Wide b) { return a & b; });
    case ElementFunction::bitwise_or:
      return wide([](Wide a, Wide b) { return a | b; });
    case ElementFunction::bitwise_xor:
      return wide([](Wide a, Wide b) { return a ^ b; });
    case ElementFunction::div:
      return map<T, T>(k, [](T a, T b) { return quotient(a, b); });
    case ElementFunction::mod:
      return map<T, T>(k, [](T a, T b) { return floored_remainder(a, b); });
    case ElementFunction::fmod:
      return map<T, T>(k, [](T a, T b) { return b == -1 ? T{0} : remainder(a, b); });
    case ElementFunction::min:
      return map<T, T>(k, [](T a, T b) { return b < a ? b : a; });
    case ElementFunction::max:
      return map<T, T>(k, [](T a, T b) { return a < b ? b : a; });
    default:
      return;
  }
}

template <class T>
void predicates(ElementFunction f, const ElementRows& k) {
  const auto each = [&](auto g) {
    map<T, Truth>(k, [g](auto a, auto b) { return Truth{static_cast<std::uint8_t>(g(a, b) ? 1 : 0)}; });
  };
  switch (f) {
    case ElementFunction::equal:
      return each([](auto a, auto b) { return a == b; });
    case ElementFunction::less:
      return each([](auto a, auto b) { return a < b; });
    case ElementFunction::less_equal:
      return each([](auto a, auto b) { return a <= b; });
    case ElementFunction::greater:
      return each([](auto a, auto b) { return a > b; });
    case ElementFunction::greater_equal:
      return each([](auto a, auto b) { return a >= b; });
    default:
      break;
  }
  if constexpr (std::is_same_v<T, Truth>) {  // whose values are 0 and 1
    if (f == ElementFunction::logical_and) each([](auto a, auto b) { return a & b; });
    if (f == ElementFunction::logical_or) each([](auto a, auto b) { return a | b; });
    if (f == ElementFunction::logical_xor) each([](auto a, auto b) { return a ^ b; });
  }
}

// One row of a choice. Both are read before one is taken, so that it needs no branch.
template <class T, bool AllA, bool AllB>
[[gnu::always_inline]] inline void choose(const std::uint8_t* c, const T* a, const T* b, T* __restrict y,
                                          Index n) {
  const T all_a = *a, all_b = *b;
  for (Index i = 0; i < n; ++i) {
    const T x = AllA ? all_a : a[i], z = AllB ? all_b : b[i];
    y[i] = c[i] != 0 ? x : z;
  }
}

template <class T>
void choices(const ElementRows& k) {
  for (Index r = 0; r < k.rows; ++r) {
    const auto* c = static_cast<const std::uint8_t*>(k.from[0]) + r * k.row[0];
    const T* const a = static_cast<const T*>(k.from[1]) + r * k.row[1];
    const T* const b = static_cast<const T*>(k.from[2]) + r * k.row[2];
    T* const y = static_cast<T*>(k.to) + r * k.count;
    if (k.step[0] == 0) {
      const T* const one = *c != 0 ? a : b;
      const Index step = k.step[*c != 0 ? 1 : 2];
      for (Index i = 0; i < k.count; ++i) y[i] = one[i * step];
    } else if (k.step[1] == 0) {
      k.step[2] == 0 ? choose<T, true, true>(c, a, b, y, k.count)
                     : choose<T, true, false>(c, a, b, y, k.count);
    } else {
      k.step[2] == 0 ? choose<T, false, true>(c, a, b, y, k.count)
                     : choose<T, false, false>(c, a, b, y, k.count);
    }
  }
}

void apply(ElementFunction f, ElementType type, const ElementRows& rows) {
  if (f == ElementFunction::where) {
    if (type == ElementType::i64) return choices<std::uint64_t>(rows);
    return type == ElementType::boolean ? choices<std::uint8_t>(rows) : choices<std::uint32_t>(rows);
  }
  const bool predicate = f >= ElementFunction::equal;
  if (type == ElementType::f32) return predicates<float>(f, rows);
  if (type == ElementType::boolean) return predicates<Truth>(f, rows);
  if (type == ElementType::i32)
    return predicate ? predicates<std::int32_t>(f, rows) : integers<std::int32_t>(f, rows);
  if (type == ElementType::i64)
    predicate ? predicates<std::int64_t>(f, rows) : integers<std::int64_t>(f, rows);
}

// Without a branch: numbers that do not fit are taken out before they are converted.
template <class To>
[[gnu::always_inline]] inline To whole(float x) {
  constexpr int kBits = static_cast<int>(sizeof(To) * 8) - (std::is_signed_v<To> ? 1 : 0);
  constexpr float kEnd = 2.0f * static_cast<float>(std::uint64_t{1} << (kBits - 1));
  constexpr float kStart = std::is_signed_v<To> ? -kEnd : 0.0f;
  constexpr auto kMost = static_cast<To>(~std::uint64_t{0} >> (64 - kBits));
  constexpr auto kLeast = static_cast<To>(std::is_signed_v<To> ? -kMost - 1 : 0);
  using Wide = std::conditional_t<(sizeof(To) < 4), std::int32_t, To>;
  const bool above = x >= kEnd, below = x <= kStart, fits = !above && x > kStart;
  const auto inside = static_cast<To>(static_cast<Wide>(fits ? x : 0.0f));
  return above ? kMost : below ? kLeast : inside;
}

template <class To, class From>
[[gnu::always_inline]] inline To converted(From x) {
  if constexpr (std::is_same_v<To, Truth>) {
    return {static_cast<std::uint8_t>(value_of(x) != decltype(value_of(x)){} ? 1 : 0)};
  } else if constexpr (std::is_same_v<From, float> && !std::is_same_v<To, float>) {
    return whole<To>(x);
  } else {
    return static_cast<To>(value_of(x));
  }
}

void convert(ElementType from, ElementType to, const void* x, void* y, Index n) {
  with_element(from, [&](auto from_zero) {
    with_element(to, [&](auto to_zero) {
      using To = decltype(to_zero);
      const auto* const in = static_cast<const decltype(from_zero)*>(x);
      auto* const __restrict out = static_cast<To*>(y);
      for (Index i = 0; i < n; ++i) out[i] = converted<To>(in[i]);
    });
  });
}

template <class From, class To, class F>
[[gnu::always_inline]] inline void each(const void* x, void* y, Index n, F f) {
  const auto* const in = static_cast<const From*>(x);
  auto* const __restrict out = static_cast<To*>(y);
  for (Index i = 0; i < n; ++i) out[i] = f(in[i]);
}

void widen(bool brain, const void* x, void* y, Index n) {
  using Short = std::uint16_t;
  if (brain) return each<Short, float>(x, y, n, [](Short bits) { return core::bfloat_to_float(bits); });
  each<Short, float>(x, y, n, [](Short bits) { return core::half_to_float(bits); });
}

void narrow(bool brain, const void* x, void* y, Index n) {
  using Short = std::uint16_t;
  if (brain) return each<float, Short>(x, y, n, [](float number) { return core::float_to_bfloat(number); });
  each<float, Short>(x, y, n, [](float number) { return core::float_to_half(number); });
}

void negate(const void* x, void* y, Index n) {
  const auto* const in = static_cast<const std::uint8_t*>(x);
  auto* const __restrict out = static_cast<std::uint8_t*>(y);
  for (Index i = 0; i < n; ++i) out[i] = in[i] == 0 ? 1 : 0;
}

void is_nan(const void* x, void* y, Index n) {
  const auto* const in = static_cast<const float*>(x);
  auto* const __restrict out = static_cast<std::uint8_t*>(y);
  for (Index i = 0; i < n; ++i) out[i] = in[i] != in[i] ? 1 : 0;
}

}  // namespace

namespace RDQUANT_KERNELS_ISA {
const Elements elements = {apply, convert, widen, narrow, negate, is_nan};
}
}  // namespace rdquant::runtime::kernels
