#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "rdquant/codec/container.hpp"
#include "rdquant/codec/floats.hpp"
#include "rdquant/codec/levels.hpp"
#include "rdquant/quant/quantizer.hpp"

/// One tensor of a compressed model. Format (version 1), in the notation of levels.hpp; f64 is a
/// little-endian IEEE double:
///
///     byte     coding: 0 floats, 1 quantized, 2 integers, 3 raw
///     varint   element type, ONNX's TensorProto.DataType
///     varint   rank
///     varint   each dimension
///     body     by coding:
///
///     coding 0, floats
///     floats   coded floats (floats.hpp) of type FLOAT, FLOAT16, BFLOAT16 or DOUBLE
///
///     coding 1, quantized: the values are x̂ of rdquant/quant/quantizer.hpp in float32, rounded to the
///     element type
///     varint   number of quantizers C; if C > 1, C·(the next field) divides the number of elements
///     varint   elements between neighbours along the channel axis, 1 … 2^40
///     byte     family: 0 uniform, 1 µ-law, 2 minifloat, 3 codebook
///     C times  uniform: f64 step, f64 δ
///              µ-law: f64 µ, f64 range, f64 step
///              minifloat: byte exponent, byte mantissa, zigzag bias, byte ieee
///              codebook: varint count, float32 each
///     block    coded levels (levels.hpp)
///
///     coding 2, integers
///     levels   coded levels
///
///     coding 3, raw
///     bytes    the tensor's as ONNX's raw_data has them
namespace rdquant::codec {

enum class Coding : std::uint8_t { floats, quantized, integers, raw };

struct TensorHeader {
  Coding coding = Coding::raw;
  std::uint32_t element_type = 0;  ///< ONNX's TensorProto.DataType
  std::vector<std::uint64_t> shape;
  std::uint64_t size = 0;                    ///< product of the shape
  std::vector<quant::Quantizer> quantizers;  ///< of coding `quantized`: one, or one a channel
  std::size_t inner = 1;                     ///< as in quant::quantize_channels
  LevelType levels = LevelType::i32;         ///< of codings `quantized` and `integers`
  std::span<const std::uint8_t> payload;     ///< coded floats or levels, or raw bytes; views the input
};

/// The fields before the payload.
[[nodiscard]] std::vector<std::uint8_t> encode_quantized(std::span<const std::int32_t> levels,
                                                         std::span<const std::uint64_t> shape,
                                                         std::uint32_t element_type,
                                                         std::span<const quant::Quantizer> quantizers,
                                                         std::size_t inner, Profile profile, int threads = 1,
                                                         Trellis trellis = {});
[[nodiscard]] std::vector<std::uint8_t> encode_float_tensor(std::span<const std::uint8_t> values,
                                                            std::span<const std::uint64_t> shape,
                                                            std::uint32_t element_type, FloatType type,
                                                            Profile profile, int threads = 1);
[[nodiscard]] std::vector<std::uint8_t> encode_integers(std::span<const std::int32_t> levels,
                                                        std::span<const std::uint64_t> shape,
                                                        std::uint32_t element_type, LevelType type,
                                                        Profile profile, int threads = 1);
[[nodiscard]] std::vector<std::uint8_t> encode_raw(std::span<const std::uint8_t> bytes,
                                                   std::span<const std::uint64_t> shape,
                                                   std::uint32_t element_type);

/// Reads the fields before the payload; decodes nothing.
///
/// @throws CorruptFile  the bytes are no tensor; `name` is the section that the message names.
[[nodiscard]] TensorHeader tensor_header(std::span<const std::uint8_t> bytes, const std::string& name);

/// The type of floats that a tensor of coding `floats` or `quantized` has.
///
/// @throws CorruptFile  its element type is no float.
[[nodiscard]] FloatType float_type_of(const TensorHeader& tensor, const std::string& name);

/// Decode a payload: levels of `quantized` and `integers`, values of `quantized`, bytes of `floats`.
///
/// @throws CorruptFile  damaged bytes. InvalidArgument: another coding, or another number of elements.
void decode_tensor_levels(const TensorHeader& tensor, std::span<std::int32_t> levels, int threads = 1);
void decode_tensor_values(const TensorHeader& tensor, std::span<float> values, int threads = 1);
void decode_tensor_floats(const TensorHeader& tensor, std::span<std::uint8_t> values, int threads = 1);

/// A tensor and the bytes that its contents go to: float32 of `quantized`, int32 of `integers`, the tensor's
/// own of `floats` and `raw`.
struct TensorJob {
  const TensorHeader* tensor = nullptr;
  std::span<std::uint8_t> to = {};  ///< aligned for int32
  /// What to check before anything is decoded: the bytes of the section and where they come from.
  std::span<const std::uint8_t> bytes = {};
  const Section* section = nullptr;  ///< nullptr: checked already
};

/// Decodes all of them on up to `threads` threads (0: all cores), the largest first; the parts
/// of a large tensor are divided among the threads too.
///
/// @throws CorruptFile, InvalidArgument  as `check_section` and the functions above, of one of the tensors
/// that are damaged; or what `meanwhile` throws, which this thread calls before it takes a tensor, when
/// others may have.
void decode_tensors(std::span<const TensorJob> jobs, int threads = 1,
                    const std::function<void()>& meanwhile = {});

}  // namespace rdquant::codec
