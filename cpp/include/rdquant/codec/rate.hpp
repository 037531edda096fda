#pragma once

#include <cstddef>
#include <span>

#include "rdquant/entropy/counts.hpp"
#include "rdquant/quant/quantizer.hpp"

namespace rdquant::codec {

/// Quantizes x, counts its levels, writes x̂ to `restored` unless that is empty, and returns Σ(x − x̂)²: one
/// pass over blocks that stay in cache, so levels are never stored as a whole. x has the shape (outer,
/// channels, inner) with one quantizer a channel, as in quant::quantize_channels.
///
/// @throws InvalidArgument  as quant::quantize_channels.
[[nodiscard]] double measure(std::span<const quant::Quantizer> quantizers, std::size_t inner,
                             std::span<const float> x, entropy::Counter& counter,
                             std::span<float> restored = {});

/// Quantizes x and counts its levels, on up to `threads` threads (0: all cores): no more than the rate needs,
/// and levels never leave the first-level cache. Shapes and errors as above.
void count(std::span<const quant::Quantizer> quantizers, std::size_t inner, std::span<const float> x,
           entropy::Counter& counter, int threads = 1);

}  // namespace rdquant::codec
