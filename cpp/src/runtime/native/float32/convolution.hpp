#pragma once

#include <optional>

#include "runtime/kernels/float32/kernels.hpp"
#include "runtime/native/builder.hpp"

namespace rdquant::runtime::native {

inline constexpr kernels::Index kLine =
    64 / sizeof(float);  ///< floats of a cache line, to which one thread writes

/// A convolution as Step says it, taken apart.
struct ConvolutionParts {
  const program::Convolution& convolution;
  program::ValueId x, w, bias, residual, slopes, y;
  bool in_place;  ///< the residual lies where the result goes
};

[[nodiscard]] ConvolutionParts take_apart(const Builder& builder, const program::Step& step);

/// Our kernels for the selected instruction set, whose blocks are of block_size().
[[nodiscard]] const kernels::Kernels& float_kernels();

/// The name of a kernel of theirs: "pool avx512".
[[nodiscard]] std::string with_isa(std::string_view name);

/// nullopt where our kernels lack it.
[[nodiscard]] std::optional<kernels::Activation> kernel_activation(const program::Activation& activation);

/// A value of three axes as images of one row; others as they are.
[[nodiscard]] core::Shape as_image(const core::Shape& shape);

/// Sizes of a convolution of `x` with `w` over their last two axes; of a window over the step's first input.
[[nodiscard]] kernels::ConvShape conv_shape_of(const Builder& builder, program::ValueId x, program::ValueId w,
                                               const program::Window& window, std::int64_t groups);
[[nodiscard]] kernels::PoolShape pool_shape_of(const Builder& builder, const program::Step& step,
                                               const program::Window& window);

/// Lowers a convolution over three axes; false, and nothing added, for others.
bool build_volume_convolution(Builder& builder, const program::Step& step);

/// Whether our kernels are expected to be at least as fast as oneDNN's for a step that is a convolution.
[[nodiscard]] bool native_convolution_is_better(const Builder& builder, const program::Step& step);

}  // namespace rdquant::runtime::native
