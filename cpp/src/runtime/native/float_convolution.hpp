#pragma once

#include <optional>

#include "runtime/kernels/float32/kernels.hpp"
#include "runtime/native/builder.hpp"

namespace rdquant::runtime::native {

/// A convolution as Step says it, taken apart.
struct ConvolutionParts {
  const program::Convolution& convolution;
  program::ValueId x, w, bias, residual, slopes, y;
  bool in_place;  ///< the residual lies where the result goes
};

/// Our own kernels for blocks of block_size().
[[nodiscard]] const kernels::Kernels& float_kernels();

/// nullopt where our kernels lack it.
[[nodiscard]] std::optional<kernels::Activation> kernel_activation(const program::Activation& activation);

/// Sizes of a convolution of `x` with `w`, and of a window over the step's first input.
[[nodiscard]] kernels::ConvShape conv_shape_of(const Builder& builder, program::ValueId x, program::ValueId w,
                                               const program::Window& window, std::int64_t groups);
[[nodiscard]] kernels::PoolShape pool_shape_of(const Builder& builder, const program::Step& step,
                                               const program::Window& window);

/// Lowers to a kernel of our own; false, and nothing added, where the method does not run this shape.
bool build_native_convolution(Builder& builder, const ConvolutionParts& parts, kernels::ConvMethod method);

/// Lowers a first convolution together with the maxima that are all that reads it; false, and nothing added,
/// where there is no such pair.
bool build_pooled_convolution(Builder& builder, const ConvolutionParts& parts);

/// Lowers to Winograd's algorithm where that pays; false, and nothing added, where not.
bool build_winograd(Builder& builder, const ConvolutionParts& parts);

}  // namespace rdquant::runtime::native
