#include <algorithm>
#include <limits>
#include <type_traits>

#include "program/evaluate/steps.hpp"
#include "program/evaluate/walk.hpp"
#include "rdquant/program/evaluate.hpp"

namespace rdquant::program::plain {
namespace {

/// Nearest integer, ties to even, of |value| < 2^22: in the sum only whole numbers have a place.
[[nodiscard]] float nearest(float value) noexcept {
  constexpr float kShift = 1.5F * (1U << 23U);
  return (value + kShift) - kShift;
}

/// Calls each(scale, zero, begin, count) on the threads for runs of elements that share them.
template <typename Each>
void runs(Sizes shape, std::int64_t axis, const TensorView& scale, const TensorView& zero, int threads,
          Each each) {
  const std::vector<double> scales = numbers(scale), zeros = numbers(zero);
  if (scales.size() == 1) {
    return share_lines(size_of(shape), 1, threads, [&](std::int64_t begin, std::int64_t end) {
      each(static_cast<float>(scales[0]), zeros.empty() ? 0 : static_cast<std::int32_t>(zeros[0]), begin,
           end - begin);
    });
  }
  const Around around(shape, axis);
  share_lines(around.outer * around.size, around.inner, threads, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const auto channel = static_cast<std::size_t>(i % around.size);
      each(static_cast<float>(scales[channel]), zeros.empty() ? 0 : static_cast<std::int32_t>(zeros[channel]),
           i * around.inner, around.inner);
    }
  });
}

template <typename From, typename To>
void quantize(const From* x, To* q, std::int64_t count, float scale, std::int32_t zero) {
  const auto low = static_cast<float>(std::numeric_limits<To>::min() - zero);
  const auto high = static_cast<float>(std::numeric_limits<To>::max() - zero);
  for (std::int64_t i = 0; i < count; ++i) {
    const float level = nearest(std::min(std::max(low, convert<float>(x[i]) / scale), high));
    q[i] = static_cast<To>(static_cast<std::int32_t>(level) + zero);
  }
}

}  // namespace

void compute(const Quantize& step, Inputs inputs, Outputs outputs, int threads) {
  const TensorView& x = inputs[0];
  const MutableTensorView& q = outputs[0];
  with_type(x.dtype, [&]<typename From>(Type<From>) {
    with_type(q.dtype, [&]<typename To>(Type<To>) {
      if constexpr ((kIsFloat<From> || std::is_same_v<From, std::int32_t>) && kIsInteger<To> &&
                    sizeof(To) <= 2) {
        runs(q.shape, step.axis, inputs[1], at(inputs, 2), threads,
             [&](float scale, std::int32_t zero, std::int64_t begin, std::int64_t count) {
               quantize(x.as<From>() + begin, q.as<To>() + begin, count, scale, zero);
             });
      } else {
        refuse("quantize", kIsInteger<To> ? x.dtype : q.dtype);
      }
    });
  });
}

void compute(const Dequantize& step, Inputs inputs, Outputs outputs, int threads) {
  const TensorView& q = inputs[0];
  const MutableTensorView& x = outputs[0];
  with_type(q.dtype, [&]<typename From>(Type<From>) {
    with_type(x.dtype, [&]<typename To>(Type<To>) {
      if constexpr (kIsInteger<From> && sizeof(From) <= 4 && kIsFloat<To>) {
        runs(x.shape, step.axis, inputs[1], at(inputs, 2), threads,
             [&](float scale, std::int32_t zero, std::int64_t begin, std::int64_t count) {
               using Wide = std::conditional_t<sizeof(From) == 4, std::int64_t, std::int32_t>;
               const From* from = q.as<From>() + begin;
               To* to = x.as<To>() + begin;
               for (std::int64_t i = 0; i < count; ++i) {
                 to[i] = convert<To>(static_cast<float>(static_cast<Wide>(from[i]) - zero) * scale);
               }
             });
      } else {
        refuse("dequantize", kIsFloat<To> ? q.dtype : x.dtype);
      }
    });
  });
}

void compute(const DynamicQuantize&, Inputs inputs, Outputs outputs) {
  const TensorView& x = inputs[0];
  if (x.dtype != DType::f32) refuse("dynamic quantize", x.dtype);
  const auto* const values = x.as<float>();
  const std::int64_t count = size_of(x.shape);
  float low = 0, high = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    low = std::min(low, values[i]);
    high = std::max(high, values[i]);
  }
  const auto [scale, zero] = dynamic_grid(low, high);
  if (present(outputs[0])) quantize(values, outputs[0].as<std::uint8_t>(), count, scale, zero);
  if (present(at(outputs, 1))) *outputs[1].as<float>() = scale;
  if (present(at(outputs, 2))) *outputs[2].as<std::uint8_t>() = static_cast<std::uint8_t>(zero);
}

}  // namespace rdquant::program::plain

namespace rdquant::program {

DynamicGrid dynamic_grid(float low, float high) {
  const float scale = low == high ? 1.0F : (high - low) / 255.0F;
  const float zero = std::min(std::max(0.0F, -low / scale), 255.0F);
  return {scale, static_cast<std::int32_t>(plain::nearest(zero))};
}

}  // namespace rdquant::program
