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

[[nodiscard]] ConvolutionParts take_apart(const Builder& builder, const program::Step& step);

/// Our kernels for the selected instruction set, whose blocks are of block_size().
[[nodiscard]] const kernels::Kernels& float_kernels();

/// nullopt where our kernels lack it.
[[nodiscard]] std::optional<kernels::Activation> kernel_activation(const program::Activation& activation);

/// Sizes of a convolution of `x` with `w`, and of a window over the step's first input.
[[nodiscard]] kernels::ConvShape conv_shape_of(const Builder& builder, program::ValueId x, program::ValueId w,
                                               const program::Window& window, std::int64_t groups);
[[nodiscard]] kernels::PoolShape pool_shape_of(const Builder& builder, const program::Step& step,
                                               const program::Window& window);

/// Whether our kernels are expected to be at least as fast as oneDNN's for a step that is a convolution.
[[nodiscard]] bool native_convolution_is_better(const Builder& builder, const program::Step& step);

}  // namespace rdquant::runtime::native
