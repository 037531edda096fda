#pragma once

#include <algorithm>
#include <array>

#include "runtime/native/float32/convolution.hpp"
#include "runtime/native/loops.hpp"

/// Convolutions of few filters, whose pixels fill the lanes of vectors.
namespace rdquant::runtime::native {

/// How the window lies along one axis; it moves by one.
struct TapAxis {
  kernels::Index in = 1, out = 1, taps = 1, dilation = 1, before = 0;

  /// Where the result lies that sees `place` under `tap`; it may be none.
  [[nodiscard]] kernels::Index seen_by(kernels::Index place, kernels::Index tap) const {
    return place + before - tap * dilation;
  }
};

/// Images, or volumes, and the window; an image is a volume of depth one.
struct FewFilters {
  kernels::Index images, channels, filters;
  std::array<TapAxis, 3> axes;
  bool blocked;  ///< where x is an image in blocks

  [[nodiscard]] kernels::Index taps() const { return axes[0].taps * axes[1].taps * axes[2].taps; }
  [[nodiscard]] kernels::Index rows() const { return filters * taps(); }  ///< of the product
  [[nodiscard]] kernels::Index plane() const { return axes[1].in * axes[2].in; }
  [[nodiscard]] kernels::Index image() const {
    const kernels::Index held = blocked ? kernels::divide(channels, block_size()) * block_size() : channels;
    return held * axes[0].in * plane();
  }
  [[nodiscard]] kernels::Index results() const { return axes[0].out * axes[1].out * axes[2].out; }
};

/// What follows the sums.
struct FewFiltersEnd {
  kernels::Activation activation;
  bool bias = false, residual = false, residual_last = false;
};

/// How such a convolution is run. Operands: x, weights [filter][tap][channel], y (plain), scratch, then bias and residual
/// (plain; it may be y where it is not added last) where given.
struct FewFiltersRun {
  Work work;
  kernels::Index scratch;  ///< floats
};
[[nodiscard]] FewFiltersRun run_few_filters(const FewFilters& shape, const FewFiltersEnd& end, int threads);

/// Whether filters are so few, and channels and taps so many, that this is expected to be faster than filters side by
/// side.
[[nodiscard]] bool few_filters_pay(const Builder& builder, const ConvolutionParts& parts);

/// Lowers a convolution over one to three axes where that pays; false, and nothing added, where not.
bool build_few_filters(Builder& builder, const ConvolutionParts& parts);

/// The same of a transposed convolution.
bool build_few_filters_transposed(Builder& builder, const program::Step& step);

}  // namespace rdquant::runtime::native
