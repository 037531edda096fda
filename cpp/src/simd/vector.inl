// Vector<T, N>: N elements of T in as many registers as they fill. Included by leaf files only, those that are
// compiled for one instruction set. Everything here is in unnamed namespaces: code built for one set must not be
// linked into another.
//
// Conditions are vectors of integers as wide as the elements that were compared, -1 or 0 each. Sums, differences
// and products of integers wrap.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#if defined(__SSE4_1__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

// How vectors would be passed does not matter: every function here is inlined.
#pragma GCC diagnostic ignored "-Wpsabi"

namespace rdquant::simd {
namespace {

#if defined(__AVX512F__)
constexpr int kRegister = 64;  // bytes
#elif defined(__AVX2__)
constexpr int kRegister = 32;
#else
constexpr int kRegister = 16;
#endif

template <class T, int N>
struct RegisterOf {
  using Type [[gnu::vector_size(N * sizeof(T))]] = T;
  using Unaligned [[gnu::vector_size(N * sizeof(T)), gnu::aligned(1), gnu::may_alias]] = T;
};
/// The compiler's own vector, of at most kRegister bytes.
template <class T, int N>
using Register = typename RegisterOf<T, N>::Type;

template <class T, int N>
constexpr bool kFits = N * static_cast<int>(sizeof(T)) <= kRegister;

/// One register, or two halves: compilers keep vectors that are longer than a register in memory.
template <class T, int N, bool Fits = kFits<T, N>>
struct Vector {
  Register<T, N> v;
};
template <class T, int N>
struct Vector<T, N, false> {
  Vector<T, N / 2> low, high;
};

template <class V>
struct TraitsOf;
template <class T, int N, bool Fits>
struct TraitsOf<Vector<T, N, Fits>> {
  using Element = T;
  static constexpr int kCount = N;
};
template <class V>
using Element = typename TraitsOf<V>::Element;

/// The signed integer as wide as T: what conditions on T are made of.
template <class T>
using Signed =
    std::conditional_t<sizeof(T) == 1, std::int8_t,
                       std::conditional_t<sizeof(T) == 2, std::int16_t,
                                          std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>>>;
template <class T, int N>
using Condition = Vector<Signed<T>, N>;

template <class To, class From>
[[gnu::always_inline]] inline To bits_as(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  return __builtin_bit_cast(To, from);
}

// Not by memcpy of the whole: g++ may keep what it copies in memory, and copy it in pieces.
template <class V>
[[gnu::always_inline]] inline V load_as(const void* p) {
  using T = Element<V>;
  constexpr int kCount = TraitsOf<V>::kCount;
  if constexpr (kFits<T, kCount>) {
    return {*static_cast<const typename RegisterOf<T, kCount>::Unaligned*>(p)};
  } else {
    using Half = Vector<T, kCount / 2>;
    return {load_as<Half>(p), load_as<Half>(static_cast<const T*>(p) + kCount / 2)};
  }
}
template <class T, int N>
[[gnu::always_inline]] inline void store_as(void* p, Vector<T, N> x) {
  if constexpr (kFits<T, N>) {
    *static_cast<typename RegisterOf<T, N>::Unaligned*>(p) = x.v;
  } else {
    store_as(p, x.low);
    store_as(static_cast<T*>(p) + N / 2, x.high);
  }
}

/// The same element everywhere.
template <class V>
[[gnu::always_inline]] inline V splat_as(Element<V> x) {
  constexpr int kCount = TraitsOf<V>::kCount;
  if constexpr (kFits<Element<V>, kCount>) {
    return {x - Register<Element<V>, kCount>{}};  // not 0 + x, which would make −0 to 0
  } else {
    using Half = Vector<Element<V>, kCount / 2>;
    return {splat_as<Half>(x), splat_as<Half>(x)};
  }
}

/// f of each register of vectors of one size.
template <class T, int N, class F>
[[gnu::always_inline]] inline Vector<T, N> each(Vector<T, N> a, F f) {
  if constexpr (kFits<T, N>) {
    return {f(a.v)};
  } else {
    return {each(a.low, f), each(a.high, f)};
  }
}
template <class T, int N, class F>
[[gnu::always_inline]] inline Vector<T, N> each(Vector<T, N> a, Vector<T, N> b, F f) {
  if constexpr (kFits<T, N>) {
    return {f(a.v, b.v)};
  } else {
    return {each(a.low, b.low, f), each(a.high, b.high, f)};
  }
}

// Elements of integers are added as unsigned ones, whose sums may wrap.
template <class T>
using Wrapping =
    typename std::conditional_t<std::is_integral_v<T>, std::make_unsigned<T>, std::type_identity<T>>::type;
template <class T, int N>
using WrappingRegister = Register<Wrapping<T>, N>;

template <class T, int N>
[[gnu::always_inline]] inline Vector<T, N> operator+(Vector<T, N> a, Vector<T, N> b) {
  if constexpr (kFits<T, N>) {
    return {(Register<T, N>)((WrappingRegister<T, N>)a.v + (WrappingRegister<T, N>)b.v)};
  } else {
    return {a.low + b.low, a.high + b.high};
  }
}
template <class T, int N>
[[gnu::always_inline]] inline Vector<T, N> operator-(Vector<T, N> a, Vector<T, N> b) {
  if constexpr (kFits<T, N>) {
    return {(Register<T, N>)((WrappingRegister<T, N>)a.v - (WrappingRegister<T, N>)b.v)};
  } else {
    return {a.low - b.low, a.high - b.high};
  }
}
template <class T, int N>
[[gnu::always_inline]] inline Vector<T, N> operator*(Vector<T, N> a, Vector<T, N> b) {
  if constexpr (kFits<T, N>) {
    return {(Register<T, N>)((WrappingRegister<T, N>)a.v * (WrappingRegister<T, N>)b.v)};
  } else {
    return {a.low * b.low, a.high * b.high};
  }
}
template <class T, int N>
[[gnu::always_inline]] inline Vector<T, N> operator/(Vector<T, N> a, Vector<T, N> b) {
  static_assert(std::is_floating_point_v<T>);
  if constexpr (kFits<T, N>) {
    return {a.v / b.v};
  } else {
    return {a.low / b.low, a.high / b.high};
  }
}
template <class T, int N>
[[gnu::always_inline]] inline Vector<T, N> operator-(Vector<T, N> a) {
  if constexpr (kFits<T, N>) {
    return {(Register<T, N>)(-(WrappingRegister<T, N>)a.v)};
  } else {
    return {-a.low, -a.high};
  }
}
template <class T, int N>
[[gnu::always_inline]] inline Vector<T, N> operator&(Vector<T, N> a, Vector<T, N> b) {
  return each(a, b, [](auto x, auto y) __attribute__((always_inline)) { return x & y; });
}
template <class T, int N>
[[gnu::always_inline]] inline Vector<T, N> operator|(Vector<T, N> a, Vector<T, N> b) {
  return each(a, b, [](auto x, auto y) __attribute__((always_inline)) { return x | y; });
}
template <class T, int N>
[[gnu::always_inline]] inline Vector<T, N> operator^(Vector<T, N> a, Vector<T, N> b) {
  return each(a, b, [](auto x, auto y) __attribute__((always_inline)) { return x ^ y; });
}
template <class T, int N>
[[gnu::always_inline]] inline Vector<T, N> operator~(Vector<T, N> a) {
  return each(a, [](auto x) __attribute__((always_inline)) { return ~x; });
}
template <class T, int N>
[[gnu::always_inline]] inline Vector<T, N> operator<<(Vector<T, N> a, int bits) {
  if constexpr (kFits<T, N>) {
    return {(Register<T, N>)((WrappingRegister<T, N>)a.v << bits)};
  } else {
    return {a.low << bits, a.high << bits};
  }
}
/// Keeps the sign of signed integers.
template <class T, int N>
[[gnu::always_inline]] inline Vector<T, N> operator>>(Vector<T, N> a, int bits) {
  return each(a, [bits](auto x) __attribute__((always_inline)) { return x >> bits; });
}
/// Each by its own number of bits.
template <class T, int N>
[[gnu::always_inline]] inline Vector<T, N> shift_right_by(Vector<T, N> a, Vector<T, N> bits) {
  return each(a, bits, [](auto x, auto y) __attribute__((always_inline)) { return x >> y; });
}

// With one number on either side.
template <class T, int N>
[[gnu::always_inline]] inline Vector<T, N> operator+(Vector<T, N> a, std::type_identity_t<T> b) {
  return a + splat_as<Vector<T, N>>(b);
}
template <class T, int N>
[[gnu::always_inline]] inline Vector<T, N> operator-(Vector<T, N> a, std::type_identity_t<T> b) {
  return a - splat_as<Vector<T, N>>(b);
}
template <class T, int N>
[[gnu::always_inline]] inline Vector<T, N> operator*(Vector<T, N> a, std::type_identity_t<T> b) {
  return a * splat_as<Vector<T, N>>(b);
}
template <class T, int N>
[[gnu::always_inline]] inline Vector<T, N> operator&(Vector<T, N> a, std::type_identity_t<T> b) {
  return a & splat_as<Vector<T, N>>(b);
}
template <class T, int N>
[[gnu::always_inline]] inline Vector<T, N> operator+(std::type_identity_t<T> a, Vector<T, N> b) {
  return splat_as<Vector<T, N>>(a) + b;
}
template <class T, int N>
[[gnu::always_inline]] inline Vector<T, N> operator-(std::type_identity_t<T> a, Vector<T, N> b) {
  return splat_as<Vector<T, N>>(a) - b;
}
template <class T, int N>
[[gnu::always_inline]] inline Vector<T, N> operator*(std::type_identity_t<T> a, Vector<T, N> b) {
  return splat_as<Vector<T, N>>(a) * b;
}

template <class T, int N, bool Fits>
[[gnu::always_inline]] inline Vector<T, N, Fits>& operator+=(Vector<T, N, Fits>& a,
                                                             std::type_identity_t<Vector<T, N>> b) {
  return a = a + b;
}
template <class T, int N, bool Fits>
[[gnu::always_inline]] inline Vector<T, N, Fits>& operator-=(Vector<T, N, Fits>& a,
                                                             std::type_identity_t<Vector<T, N>> b) {
  return a = a - b;
}
template <class T, int N, bool Fits>
[[gnu::always_inline]] inline Vector<T, N, Fits>& operator|=(Vector<T, N, Fits>& a,
                                                             std::type_identity_t<Vector<T, N>> b) {
  return a = a | b;
}

template <class T, int N>
[[gnu::always_inline]] inline Condition<T, N> operator<(Vector<T, N> a, Vector<T, N> b) {
  if constexpr (kFits<T, N>) {
    return {(Register<Signed<T>, N>)(a.v < b.v)};
  } else {
    return {a.low < b.low, a.high < b.high};
  }
}
template <class T, int N>
[[gnu::always_inline]] inline Condition<T, N> operator>(Vector<T, N> a, Vector<T, N> b) {
  return b < a;
}
template <class T, int N>
[[gnu::always_inline]] inline Condition<T, N> operator<=(Vector<T, N> a, Vector<T, N> b) {
  if constexpr (kFits<T, N>) {
    return {(Register<Signed<T>, N>)(a.v <= b.v)};
  } else {
    return {a.low <= b.low, a.high <= b.high};
  }
}
template <class T, int N>
[[gnu::always_inline]] inline Condition<T, N> operator==(Vector<T, N> a, Vector<T, N> b) {
  if constexpr (kFits<T, N>) {
    return {(Register<Signed<T>, N>)(a.v == b.v)};
  } else {
    return {a.low == b.low, a.high == b.high};
  }
}

template <class T, int N>
[[gnu::always_inline]] inline Condition<T, N> operator<(Vector<T, N> a, std::type_identity_t<T> b) {
  return a < splat_as<Vector<T, N>>(b);
}
template <class T, int N>
[[gnu::always_inline]] inline Condition<T, N> operator<(std::type_identity_t<T> a, Vector<T, N> b) {
  return splat_as<Vector<T, N>>(a) < b;
}

/// condition ? a : b, element by element.
template <class T, int N>
[[gnu::always_inline]] inline Vector<T, N> select(Condition<T, N> condition, Vector<T, N> a, Vector<T, N> b) {
  if constexpr (kFits<T, N>) {
    return {condition.v ? a.v : b.v};
  } else {
    return {select(condition.low, a.low, b.low), select(condition.high, a.high, b.high)};
  }
}

/// a < b ? a : b and a > b ? a : b, element by element; floats.inl has those of float.
template <class T, int N>
  requires(!std::is_same_v<T, float>)
[[gnu::always_inline]] inline Vector<T, N> min(Vector<T, N> a, Vector<T, N> b) {
  return each(a, b, [](auto x, auto y) __attribute__((always_inline)) { return x < y ? x : y; });
}
template <class T, int N>
  requires(!std::is_same_v<T, float>)
[[gnu::always_inline]] inline Vector<T, N> max(Vector<T, N> a, Vector<T, N> b) {
  return each(a, b, [](auto x, auto y) __attribute__((always_inline)) { return x > y ? x : y; });
}

/// Elements converted as static_cast does; narrower integers are their low bits.
template <class To, class T, int N>
[[gnu::always_inline]] inline Vector<To, N> convert(Vector<T, N> a) {
  if constexpr (kFits<To, N> && kFits<T, N>) {
    return {__builtin_convertvector(a.v, Register<To, N>)};
  } else if constexpr (kFits<To, N> && kFits<To, N / 2>) {
    const auto low = convert<To>(a.low), high = convert<To>(a.high);
    // joined in registers: through memory it would wait for both halves to be stored
    return [&]<int... I>(std::integer_sequence<int, I...>) __attribute__((always_inline)) {
      return Vector<To, N>{__builtin_shufflevector(low.v, high.v, I...)};
    }(std::make_integer_sequence<int, N>{});
  } else if constexpr (kFits<To, N>) {
    struct {
      Vector<To, N / 2> low, high;
    } const halves = {convert<To>(a.low), convert<To>(a.high)};
    return bits_as<Vector<To, N>>(halves);
  } else {
    struct Halves {
      Vector<T, N / 2> low, high;
    };
    const auto halves = bits_as<Halves>(a);
    return {convert<To>(halves.low), convert<To>(halves.high)};
  }
}

template <class T, int N>
[[gnu::always_inline]] inline T element(Vector<T, N> a, int i) {
  if constexpr (kFits<T, N>) {
    return a.v[i];
  } else {
    return i < N / 2 ? element(a.low, i) : element(a.high, i - N / 2);
  }
}

/// The lower (0) or upper (1) half of a vector.
template <int Which, class T, int N>
[[gnu::always_inline]] inline Vector<T, N / 2> half(Vector<T, N> a) {
  if constexpr (!kFits<T, N>) {
    return Which == 0 ? a.low : a.high;
  } else {
    return [&]<int... I>(std::integer_sequence<int, I...>) __attribute__((always_inline)) {
      return Vector<T, N / 2>{__builtin_shufflevector(a.v, a.v, (Which * N / 2 + I)...)};
    }(std::make_integer_sequence<int, N / 2>{});
  }
}

/// The sum of all elements, whose halves are added until one is left.
template <class T, int N>
[[gnu::always_inline]] inline T sum(Vector<T, N> a) {
  if constexpr (N > 16 / static_cast<int>(sizeof(T))) {
    return sum(half<0>(a) + half<1>(a));
  } else if constexpr (N == 4) {
    const auto pairs = a.v + __builtin_shufflevector(a.v, a.v, 2, 3, 0, 1);
    return pairs[0] + pairs[1];
  } else {
    static_assert(N == 2);
    return a.v[0] + a.v[1];
  }
}

}  // namespace
}  // namespace rdquant::simd
