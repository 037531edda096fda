#include <algorithm>
#include <array>

#include "program/evaluate/steps.hpp"

namespace rdquant::program::plain {
namespace {

void compute_doubles(const Activation& activation, const TensorView& x, const MutableTensorView& y) {
  const std::int64_t size = size_of(y.shape);
  std::array<double, kChunk> chunk;
  for (std::int64_t begin = 0; begin < size; begin += kChunk) {
    const std::int64_t count = std::min(kChunk, size - begin);
    load(x, begin, count, chunk.data());
    activate(activation, chunk.data(), count);
    store(chunk.data(), y, begin, count);
  }
}

}  // namespace

void compute(const Unary& step, Inputs inputs, Outputs outputs) {
  const TensorView& x = inputs[0];
  const MutableTensorView& y = outputs[0];
  if (is_float(x.dtype) || x.dtype == DType::boolean) return compute_doubles(step.activation, x, y);
  with_type(x.dtype, [&]<typename T>(Type<T>) {
    if constexpr (kIsInteger<T>) {
      if (y.dtype != x.dtype) refuse("a unary function to another type", x.dtype);
      std::copy_n(x.as<T>(), size_of(y.shape), y.as<T>());
      activate_integers(step.activation, y.as<T>(), size_of(y.shape));
    }
  });
}

void compute(const Cast&, Inputs inputs, Outputs outputs) {
  const TensorView& x = inputs[0];
  const MutableTensorView& y = outputs[0];
  with_type(x.dtype, [&]<typename From>(Type<From>) {
    with_type(y.dtype, [&]<typename To>(Type<To>) {
      std::transform(x.as<From>(), x.as<From>() + size_of(y.shape), y.as<To>(), convert<To, From>);
    });
  });
}

}  // namespace rdquant::program::plain
