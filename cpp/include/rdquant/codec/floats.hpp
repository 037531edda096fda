#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "rdquant/codec/levels.hpp"

/// Lossless coding of floating-point tensors: every bit pattern comes back, NaNs and signed zeros included.
/// A number of magnitude at least Δ = 2^k is a level ⌊|x|/Δ⌋ with its sign, coded as levels are, and the bits
/// of its significand below Δ; so prediction and scales serve floats as well, which a split into exponents
/// and mantissas (ZipNN, DFloat11) cannot use. Format, in the notation of levels.hpp:
///
///     byte     method·16 + type: method 0 raw, 1 split, 2 palette; type as FloatType
///
///     method 0, raw
///     varint   number of values
///     bytes    the values, little-endian
///
///     method 1, split
///     byte     exponent field K of Δ
///     byte     zero bits at the end of all significands, z
///     block    the coded levels (their shape is the tensor's)
///     block    adaptive binary code: for every level 0 the exponent field E as K − E
///     bits     to the end, low first: for level 0 the sign and the significand's m − z bits (m: its width),
///              else its lowest m − z − (E − K)
///
///     method 2, palette
///     varint   number of distinct bit patterns P
///     bytes    the patterns in rising order
///     levels   the coded indices
namespace rdquant::codec {

enum class FloatType : std::uint8_t { f32, f16, bf16, f64 };

[[nodiscard]] std::size_t float_bytes(FloatType type) noexcept;

/// Codes values given as their little-endian bytes.
///
/// @throws InvalidArgument  the shape does not have as many elements as the bytes.
[[nodiscard]] std::vector<std::uint8_t> encode_floats(std::span<const std::uint8_t> values,
                                                      std::span<const std::uint64_t> shape, FloatType type,
                                                      Profile profile, int threads = 1);

/// Decodes into `values`, whose size says how many are expected.
///
/// @throws CorruptFile  damaged bytes, or another number or type of values.
void decode_floats(std::span<const std::uint8_t> bytes, FloatType type, std::span<std::uint8_t> values,
                   int threads = 1);

}  // namespace rdquant::codec
