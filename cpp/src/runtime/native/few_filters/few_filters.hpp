#pragma once

#include "runtime/native/float32/convolution.hpp"

/// Convolutions of few filters, whose pixels fill the lanes of vectors.
namespace rdquant::runtime::native {

/// Whether filters are so few, and channels and taps so many, that this is expected to be faster than filters side by
/// side.
[[nodiscard]] bool few_filters_pay(const Builder& builder, const ConvolutionParts& parts);

/// Lowers a convolution over one to three axes where that pays; false, and nothing added, where not.
bool build_few_filters(Builder& builder, const ConvolutionParts& parts);

}  // namespace rdquant::runtime::native
