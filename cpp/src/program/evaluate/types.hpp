#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "rdquant/core/error.hpp"
#include "rdquant/core/half.hpp"
#include "rdquant/core/tensor.hpp"

/// What the plain loops of `evaluate` share: C++ types for every dtype, one conversion, one dispatch.
namespace rdquant::program::plain {

using core::DType;
using core::MutableTensorView;
using core::TensorView;
using Inputs = std::span<const TensorView>;
using Outputs = std::span<const MutableTensorView>;
using Sizes = std::span<const std::int64_t>;

/// Nearest float32, but where `value` lies between two, the one with an odd mantissa: rounded again to fewer
/// bits, half to even, it gives what one rounding of `value` would.
template <typename T>
[[nodiscard]] float round_to_odd(T value) noexcept {
  if constexpr (std::is_same_v<T, float>) return value;
  using Exact = std::conditional_t<std::is_integral_v<T>, long double, T>;
  const auto exact = static_cast<Exact>(value);
  const auto nearest = static_cast<float>(exact);
  const auto back = static_cast<Exact>(nearest);
  if (back == exact || exact != exact) return nearest;
  auto bits = std::bit_cast<std::uint32_t>(nearest);
  if (std::abs(back) > std::abs(exact)) --bits;
  return std::bit_cast<float>(bits | 1U);
}

struct Half {
  std::uint16_t bits = 0;
  Half() = default;
  template <typename T>
    requires std::is_arithmetic_v<T>
  explicit Half(T value) noexcept : bits(core::float_to_half(round_to_odd(value))) {}
  operator float() const noexcept { return core::half_to_float(bits); }
};

struct Bfloat {
  std::uint16_t bits = 0;
  Bfloat() = default;
  template <typename T>
    requires std::is_arithmetic_v<T>
  explicit Bfloat(T value) noexcept : bits(core::float_to_bfloat(round_to_odd(value))) {}
  operator float() const noexcept { return core::bfloat_to_float(bits); }
};

/// A byte of which only "zero or not" is read: files may hold other values than 0 and 1.
struct Boolean {
  std::uint8_t byte = 0;
  Boolean() = default;
  explicit Boolean(bool value) noexcept : byte(value ? 1 : 0) {}
  operator bool() const noexcept { return byte != 0; }
};
static_assert(sizeof(Half) == 2 && sizeof(Bfloat) == 2 && sizeof(Boolean) == 1);

template <typename T>
inline constexpr bool kIsFloat =
    std::is_floating_point_v<T> || std::is_same_v<T, Half> || std::is_same_v<T, Bfloat>;
template <typename T>
inline constexpr bool kIsInteger = std::is_integral_v<T>;
template <typename T>
inline constexpr bool kIsBoolean = std::is_same_v<T, Boolean>;

/// Towards zero; beyond the range its nearest end; 0 for NaN.
template <typename To>
[[nodiscard]] To saturate(double value) noexcept {
  using Limits = std::numeric_limits<To>;
  if (value != value) return 0;
  if (value >= static_cast<double>(Limits::max() / 2 + 1) * 2) return Limits::max();
  if (value <= static_cast<double>(Limits::min())) return Limits::min();
  return static_cast<To>(value);
}

/// The one conversion between element types: floats round half to even, floats to integers saturate,
/// integers to narrower ones keep the low bits, anything but zero is true.
template <typename To, typename From>
[[nodiscard]] To convert(From value) noexcept {
  if constexpr (std::is_same_v<To, From>) {
    return value;
  } else if constexpr (std::is_same_v<From, Half> || std::is_same_v<From, Bfloat>) {
    return convert<To>(static_cast<float>(value));
  } else if constexpr (kIsBoolean<From>) {
    return convert<To>(static_cast<std::uint8_t>(value ? 1 : 0));
  } else if constexpr (kIsBoolean<To>) {
    return Boolean(value != From{});
  } else if constexpr (kIsInteger<To> && kIsFloat<From>) {
    return saturate<To>(value);
  } else {
    return static_cast<To>(value);
  }
}

template <typename T>
struct Type {
  using type = T;
};

/// Calls `visit(Type<T>{})` with the C++ type of `dtype`.
template <typename Visit>
void with_type(DType dtype, Visit&& visit) {
  switch (dtype) {
    case DType::f32:
      return visit(Type<float>{});
    case DType::f64:
      return visit(Type<double>{});
    case DType::f16:
      return visit(Type<Half>{});
    case DType::bf16:
      return visit(Type<Bfloat>{});
    case DType::i8:
      return visit(Type<std::int8_t>{});
    case DType::i16:
      return visit(Type<std::int16_t>{});
    case DType::i32:
      return visit(Type<std::int32_t>{});
    case DType::i64:
      return visit(Type<std::int64_t>{});
    case DType::u8:
      return visit(Type<std::uint8_t>{});
    case DType::u16:
      return visit(Type<std::uint16_t>{});
    case DType::u32:
      return visit(Type<std::uint32_t>{});
    case DType::u64:
      return visit(Type<std::uint64_t>{});
    case DType::boolean:
      return visit(Type<Boolean>{});
  }
}

/// The same with a type that holds every number of `dtype`: double, int64 or uint64. Loops that are written once for
/// these are compiled three times, not thirteen.
template <typename Visit>
void with_wide_type(DType dtype, Visit&& visit) {
  with_type(dtype, [&]<typename T>(Type<T>) {
    using Integer = std::conditional_t<std::is_signed_v<T>, std::int64_t, std::uint64_t>;
    return visit(Type<std::conditional_t<kIsFloat<T>, double, Integer>>{});
  });
}

[[noreturn]] inline void refuse(std::string_view step, DType dtype) {
  throw core::Unsupported(std::string(step) + " is not defined for " + std::string(core::dtype_name(dtype)));
}

[[nodiscard]] inline bool is_float(DType dtype) noexcept {
  return dtype == DType::f32 || dtype == DType::f64 || dtype == DType::f16 || dtype == DType::bf16;
}

/// Throws Unsupported unless `view` holds floats.
inline void require_float(std::string_view step, const TensorView& view) {
  if (!is_float(view.dtype)) refuse(step, view.dtype);
}

/// The view at `i`, or one without data where it is left out.
template <typename View>
[[nodiscard]] View at(std::span<const View> views, std::size_t i) noexcept {
  return i < views.size() ? views[i] : View{};
}
template <typename View>
[[nodiscard]] bool present(const View& view) noexcept {
  return view.data != nullptr;
}

[[nodiscard]] inline std::int64_t size_of(Sizes shape) noexcept {
  std::int64_t count = 1;
  for (const std::int64_t size : shape) count *= size;
  return count;
}

/// Elements [begin, begin + count) as doubles.
inline void load(const TensorView& from, std::int64_t begin, std::int64_t count, double* to) {
  with_type(from.dtype, [&]<typename T>(Type<T>) {
    const T* values = from.as<T>() + begin;
    for (std::int64_t i = 0; i < count; ++i) to[i] = convert<double>(values[i]);
  });
}

/// Writes doubles to elements [begin, begin + count), each rounded once.
inline void store(const double* from, const MutableTensorView& to, std::int64_t begin, std::int64_t count) {
  with_type(to.dtype, [&]<typename T>(Type<T>) {
    T* values = to.as<T>() + begin;
    for (std::int64_t i = 0; i < count; ++i) values[i] = convert<T>(from[i]);
  });
}

/// All elements as doubles; none where the view is left out.
[[nodiscard]] inline std::vector<double> numbers(const TensorView& view) {
  if (!present(view)) return {};
  std::vector<double> values(static_cast<std::size_t>(size_of(view.shape)));
  load(view, 0, static_cast<std::int64_t>(values.size()), values.data());
  return values;
}

/// All elements of an integer or boolean tensor.
[[nodiscard]] inline std::vector<std::int64_t> integers(const TensorView& view) {
  std::vector<std::int64_t> values(static_cast<std::size_t>(size_of(view.shape)));
  with_type(view.dtype, [&]<typename T>(Type<T>) {
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = convert<std::int64_t>(view.as<T>()[i]);
  });
  return values;
}

}  // namespace rdquant::program::plain
