#pragma once

#include <algorithm>

#include "program/evaluate/types.hpp"
#include "rdquant/program/step.hpp"

/// One function per alternative of Operation; step.hpp says what each one's inputs and outputs are.
namespace rdquant::program::plain {

/// Elements that are converted, computed in double and rounded at a time.
constexpr std::int64_t kChunk = 256;

/// `values` = activation(values). @throws Unsupported  prelu, whose slopes are not numbers of the activation
void activate(const Activation& activation, double* values, std::int64_t count);

/// The same on integers, modulo 2^bits. @throws Unsupported  a function that leaves the integers
template <typename T>
void activate_integers(const Activation& activation, T* values, std::int64_t count) {
  const auto each = [&](auto f) {
    for (std::int64_t i = 0; i < count; ++i) values[i] = f(values[i]);
  };
  const auto negative = [](T x) { return static_cast<T>(-static_cast<std::uint64_t>(x)); };
  switch (activation.function) {
    case Function::identity:
      return;
    case Function::relu:
      return each([](T x) { return std::max(x, T{0}); });
    case Function::clip: {
      const T low = saturate<T>(activation.a), high = saturate<T>(activation.b);
      return each([=](T x) { return std::min(std::max(x, low), high); });
    }
    case Function::abs:
      return each([=](T x) { return x < T{0} ? negative(x) : x; });
    case Function::neg:
      return each(negative);
    case Function::sign:
      return each([](T x) { return static_cast<T>((x > T{0}) - (x < T{0})); });
    case Function::bitwise_not:
      return each([](T x) { return static_cast<T>(~x); });
    default:
      throw core::Unsupported(std::string(function_name(activation.function)) +
                              " is not defined for integers");
  }
}

void compute(const Convolution& step, Inputs inputs, Outputs outputs, int threads);
void compute(const TransposedConvolution& step, Inputs inputs, Outputs outputs, int threads);
void compute(const MatMul& step, Inputs inputs, Outputs outputs, int threads);
void compute(const Pool& step, Inputs inputs, Outputs outputs, int threads);

void compute(const Unary& step, Inputs inputs, Outputs outputs, int threads);
void compute(const Binary& step, Inputs inputs, Outputs outputs, int threads);
void compute(const Where& step, Inputs inputs, Outputs outputs, int threads);
void compute(const Cast& step, Inputs inputs, Outputs outputs, int threads);
void compute(const Quantize& step, Inputs inputs, Outputs outputs, int threads);
void compute(const Dequantize& step, Inputs inputs, Outputs outputs, int threads);
void compute(const DynamicQuantize& step, Inputs inputs, Outputs outputs);
void compute(const Int8Convolution& step, Inputs inputs, Outputs outputs, int threads);
void compute(const Int8Binary& step, Inputs inputs, Outputs outputs, int threads);
void compute(const Lookup& step, Inputs inputs, Outputs outputs, int threads);
void compute(const Int8Pool& step, Inputs inputs, Outputs outputs, int threads);

void compute(const Reduce& step, Inputs inputs, Outputs outputs, int threads);
void compute(const ArgExtreme& step, Inputs inputs, Outputs outputs, int threads);
void compute(const TopK& step, Inputs inputs, Outputs outputs, int threads);
void compute(const CumulativeSum& step, Inputs inputs, Outputs outputs, int threads);

void compute(const Softmax& step, Inputs inputs, Outputs outputs, int threads);
void compute(const LayerNormalization& step, Inputs inputs, Outputs outputs, int threads);
void compute(const BatchNormalization& step, Inputs inputs, Outputs outputs, int threads);
void compute(const GroupNormalization& step, Inputs inputs, Outputs outputs, int threads);
void compute(const LpNormalization& step, Inputs inputs, Outputs outputs, int threads);
void compute(const LocalResponseNormalization& step, Inputs inputs, Outputs outputs, int threads);

void compute(const Concat& step, Inputs inputs, Outputs outputs, int threads);
void compute(const Split& step, Inputs inputs, Outputs outputs, int threads);
void compute(const Slice& step, Inputs inputs, Outputs outputs, int threads);
void compute(const Pad& step, Inputs inputs, Outputs outputs, int threads);
void compute(const Reshape& step, Inputs inputs, Outputs outputs);
void compute(const Transpose& step, Inputs inputs, Outputs outputs, int threads);
void compute(const Expand& step, Inputs inputs, Outputs outputs, int threads);
void compute(const Tile& step, Inputs inputs, Outputs outputs, int threads);
void compute(const Triangle& step, Inputs inputs, Outputs outputs, int threads);
void compute(const DepthToSpace& step, Inputs inputs, Outputs outputs, int threads);
void compute(const SpaceToDepth& step, Inputs inputs, Outputs outputs, int threads);

void compute(const Gather& step, Inputs inputs, Outputs outputs, int threads);
void compute(const GatherElements& step, Inputs inputs, Outputs outputs, int threads);
void compute(const GatherNd& step, Inputs inputs, Outputs outputs);
void compute(const ScatterNd& step, Inputs inputs, Outputs outputs);
void compute(const ScatterElements& step, Inputs inputs, Outputs outputs);
void compute(const OneHot& step, Inputs inputs, Outputs outputs);

void compute(const Resize& step, Inputs inputs, Outputs outputs, int threads);
void compute(const GridSample& step, Inputs inputs, Outputs outputs, int threads);
void compute(const RoiPool& step, Inputs inputs, Outputs outputs, int threads);
void compute(const Determinant& step, Inputs inputs, Outputs outputs, int threads);
void compute(const Recurrence& step, Inputs inputs, Outputs outputs, int threads);

}  // namespace rdquant::program::plain
