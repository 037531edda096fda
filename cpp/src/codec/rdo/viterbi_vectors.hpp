#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "codec/rdo/viterbi.hpp"

// Functions on them are inlined: how they would be passed does not matter.
#pragma GCC diagnostic ignored "-Wpsabi"

namespace rdquant::codec {
namespace {

#if defined(__AVX512F__)
inline constexpr std::size_t kRegister = 64;  // bytes
#elif defined(__AVX2__)
inline constexpr std::size_t kRegister = 32;
#else
inline constexpr std::size_t kRegister = 16;
#endif

/// Sixteen numbers of 32 bits in as many registers as they fill: vectors that are longer than a register are
/// kept in memory by compilers, and compared element by element. Conditions are −1 and 0.
template <typename T>
struct Wide {
  using Part [[gnu::vector_size(kRegister)]] = T;
  static constexpr std::size_t kEach = kRegister / sizeof(T), kParts = kWide / kEach;

  Wide() = default;
  Wide(T value) {  // not explicit: a number stands for sixteen
    for (Part& p : part) p = Part{} + value;
  }
  T operator[](std::size_t lane) const { return part[lane / kEach][lane % kEach]; }

  friend Wide operator+(Wide a, const Wide& b) {
    return a.each(b, [](Part x, Part y) { return x + y; });
  }
  friend Wide operator-(Wide a, const Wide& b) {
    return a.each(b, [](Part x, Part y) { return x - y; });
  }
  friend Wide operator*(Wide a, const Wide& b) {
    return a.each(b, [](Part x, Part y) { return x * y; });
  }
  friend Wide operator&(Wide a, const Wide& b) {
    return a.each(b, [](Part x, Part y) { return x & y; });
  }
  friend Wide operator|(Wide a, const Wide& b) {
    return a.each(b, [](Part x, Part y) { return x | y; });
  }
  friend Wide operator-(Wide a) {
    return a.each(a, [](Part x, Part) { return -x; });
  }
  friend Wide operator>>(Wide a, int bits) {
    return a.each(a, [bits](Part x, Part) { return x >> bits; });
  }
  friend Wide<std::int32_t> operator<(const Wide& a, const Wide& b) {
    Wide<std::int32_t> out;
#pragma GCC unroll 4
    for (std::size_t p = 0; p < kParts; ++p) out.part[p] = a.part[p] < b.part[p];
    return out;
  }

  Part part[kParts];

 private:
  template <typename Body>
  Wide each(const Wide& other, const Body& body) const {
    Wide out;
#pragma GCC unroll 4
    for (std::size_t p = 0; p < kParts; ++p) out.part[p] = body(part[p], other.part[p]);
    return out;
  }
};
using Ints = Wide<std::int32_t>;
using Floats = Wide<float>;

/// `cond ? a : b`, lane by lane.
template <typename T>
inline Wide<T> choose(const Ints& cond, const Wide<T>& a, const Wide<T>& b) {
  Wide<T> out;
#pragma GCC unroll 4
  for (std::size_t p = 0; p < Ints::kParts; ++p) out.part[p] = cond.part[p] ? a.part[p] : b.part[p];
  return out;
}
inline Ints least(const Ints& a, const Ints& b) { return choose(b < a, b, a); }
inline Ints most(const Ints& a, const Ints& b) { return choose(a < b, b, a); }

template <typename To>
inline To converted(const auto& from) {
  To to;
#pragma GCC unroll 4
  for (std::size_t p = 0; p < To::kParts; ++p) {
    to.part[p] = __builtin_convertvector(from.part[p], typename To::Part);
  }
  return to;
}
inline Floats to_floats(const Ints& a) { return converted<Floats>(a); }
/// Towards 0.
inline Ints to_ints(const Floats& a) { return converted<Ints>(a); }

template <typename Vector, typename T>
inline Vector load(const T* from) {
  Vector v;
  std::memcpy(&v, from, sizeof v);
  return v;
}
template <typename To>
inline To image_of(const auto& from) {
  To to;
  static_assert(sizeof to == sizeof from);
  std::memcpy(&to, &from, sizeof to);
  return to;
}
/// Writes the low halves of all lanes.
inline void store_shorts(std::int16_t* to, const Ints& a) {
  using Shorts [[gnu::vector_size(kRegister / 2)]] = std::int16_t;
#pragma GCC unroll 4
  for (std::size_t p = 0; p < Ints::kParts; ++p) {
    const auto small = __builtin_convertvector(a.part[p], Shorts);
    std::memcpy(to + p * Ints::kEach, &small, sizeof small);
  }
}

/// Elements `at` of two vectors, those of b behind those of a.
template <typename T>
inline Wide<T> permute(const Wide<T>& a, const Wide<T>& b, const Ints& at) {
  T from[2 * kWide], to[kWide];
  std::int32_t places[kWide];
  std::memcpy(from, &a, sizeof a);
  std::memcpy(from + kWide, &b, sizeof b);
  std::memcpy(places, &at, sizeof at);
  for (std::size_t l = 0; l < kWide; ++l) to[l] = from[places[l]];
  return load<Wide<T>>(to);
}

}  // namespace
}  // namespace rdquant::codec
