#include <algorithm>
#include <array>

#include "program/evaluate/steps.hpp"
#include "program/evaluate/walk.hpp"

namespace rdquant::program::plain {
namespace {

void compute_doubles(const Activation& activation, const TensorView& x, const MutableTensorView& y,
                     int threads) {
  share_lines(size_of(y.shape), 1, threads, [&](std::int64_t first, std::int64_t last) {
    std::array<double, kChunk> chunk;
    for (std::int64_t begin = first; begin < last; begin += kChunk) {
      const std::int64_t count = std::min(kChunk, last - begin);
      load(x, begin, count, chunk.data());
      activate(activation, chunk.data(), count);
      store(chunk.data(), y, begin, count);
    }
  });
}

}  // namespace

void compute(const Unary& step, Inputs inputs, Outputs outputs, int threads) {
  const TensorView& x = inputs[0];
  const MutableTensorView& y = outputs[0];
  if (is_float(x.dtype) || x.dtype == DType::boolean) return compute_doubles(step.activation, x, y, threads);
  with_type(x.dtype, [&]<typename T>(Type<T>) {
    if constexpr (kIsInteger<T>) {
      if (y.dtype != x.dtype) refuse("a unary function to another type", x.dtype);
      share_lines(size_of(y.shape), 1, threads, [&](std::int64_t begin, std::int64_t end) {
        std::copy(x.as<T>() + begin, x.as<T>() + end, y.as<T>() + begin);
        activate_integers(step.activation, y.as<T>() + begin, end - begin);
      });
    }
  });
}

void compute(const Cast&, Inputs inputs, Outputs outputs, int threads) {
  const TensorView& x = inputs[0];
  const MutableTensorView& y = outputs[0];
  with_type(x.dtype, [&]<typename From>(Type<From>) {
    with_type(y.dtype, [&]<typename To>(Type<To>) {
      share_lines(size_of(y.shape), 1, threads, [&](std::int64_t begin, std::int64_t end) {
        std::transform(x.as<From>() + begin, x.as<From>() + end, y.as<To>() + begin, convert<To, From>);
      });
    });
  });
}

}  // namespace rdquant::program::plain
