#pragma once

#include <doctest/doctest.h>

#include <cmath>
#include <cstddef>
#include <random>
#include <vector>

#include "runtime/kernels/int8/tables.hpp"

/// What tests of kernels for levels of 8 bits share: types of levels, the rule of rounding, layouts.
namespace reference {

using namespace rdquant::runtime::kernels;
using rdquant::core::Isa;
using Floats = std::vector<float>;
using Levels = std::vector<std::uint8_t>;
inline constexpr std::uint8_t kUntouched = 0xcd;
inline constexpr float kUntouchedFloat = -77.5f;

inline std::size_t at(Index i) { return static_cast<std::size_t>(i); }

/// body(table, block) for every instruction set of this machine.
template <class Body>
void for_every_isa(Body body) {
  const auto with = [&](Isa isa, const Int8LayerTable& table) {
    if (isa > rdquant::core::available_isa()) return;
    CAPTURE(rdquant::core::isa_name(isa));
    body(table, kernels(isa).block);
  };
  with(Isa::baseline, baseline::int8_layers);
#if defined(__x86_64__)
  with(Isa::avx2, avx2::int8_layers);
  with(Isa::avx512, avx512::int8_layers);
#endif
}

/// run(begin, end) over [0, items), the last part first.
template <class Run>
void in_disorder(Index items, Run run) {
  const Index third = items / 3;
  run(items - third, items);
  run(0, third);
  run(third, items - third);
}

inline Levels random_levels(Index n, unsigned seed) {
  std::mt19937 generator(seed);
  Levels x(at(n));
  for (std::uint8_t& level : x) level = static_cast<std::uint8_t>(generator());
  return x;
}

inline Floats random_floats(Index n, float bound, unsigned seed) {
  std::mt19937 generator(seed);
  std::uniform_real_distribution<float> numbers(-bound, bound);
  Floats x(at(n));
  for (float& value : x) value = numbers(generator);
  return x;
}

inline std::int32_t number(std::uint8_t level, bool is_signed) {
  return is_signed ? static_cast<std::int8_t>(level) : level;
}

/// What a scale and a type of levels are.
struct Type {
  float scale;
  std::int32_t zero, low, high;
  [[nodiscard]] bool is_signed() const { return low < 0; }
};

inline constexpr Type kTypes[] = {{0.01f, 0, 0, 255},        {0.0173f, 255, 0, 255},
                                  {0.25f, 7, 10, 200},       {0.01f, -128, -128, 127},
                                  {0.0173f, 127, -128, 127}, {0.125f, -3, -100, 90}};

/// The rule: round half to even, add zero, clamp; low for what is not a number.
inline std::uint8_t level(float units, const Type& type) {
  float whole = std::nearbyint(units);
  const auto low = static_cast<float>(type.low - type.zero);
  const auto high = static_cast<float>(type.high - type.zero);
  if (!(whole > low)) whole = low;
  if (whole > high) whole = high;
  return static_cast<std::uint8_t>(static_cast<std::int32_t>(whole) + type.zero);
}

/// Images channels last: c channels of `pixel` bytes, images `image` bytes apart, and slack at the end.
struct Layout {
  Index n, c, area, pixel, image;
  [[nodiscard]] Index bytes() const { return n * image + 64; }
  [[nodiscard]] std::size_t place(Index i, Index p, Index k) const { return at(i * image + p * pixel + k); }
  [[nodiscard]] Index items() const { return n * divide(area, 64); }
};

inline Layout layout(Index c, Index area, Index more) {
  return {2, c, area, c + more, area * (c + more) + 5};
}

}  // namespace reference
