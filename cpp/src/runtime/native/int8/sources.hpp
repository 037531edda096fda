#pragma once

#include <memory>

#include "runtime/native/int8/int8.hpp"

/// What convolutions of levels read, made ready for kernels that take words of four channels.
namespace rdquant::runtime::native {

/// A convolution with its source as it is made ready for it.
struct Ready {
  kernels::ConvShape given, shape;  ///< of the step, and of what is run
  kernels::Index times = 1;         ///< each channel, of a depthwise convolution with as many filters each
  kernels::Index taps = 1;          ///< neighbours in a row, whose channels lie side by side in a word
  kernels::Index step = 1;          ///< columns from one word to the next
};
[[nodiscard]] Ready ready(const kernels::ConvShape& given);

/// Adds what makes the source of a convolution ready, if it is to be; `args` then say how it lies.
[[nodiscard]] Place make_ready(Builder& builder, const program::Step& step, const Ready& source,
                               kernels::Int8ConvArgs& args);

/// Packs weights of levels for `plan`.
[[nodiscard]] std::shared_ptr<const Packer> make_packer(const kernels::Int8Kernels& kernels,
                                                        const kernels::Int8Plan& plan, const Ready& source);

}  // namespace rdquant::runtime::native
