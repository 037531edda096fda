#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace rdquant::runtime::native {

/// How an activation of four axes lies in memory; levels of five may be channels last, too. Other values are always
/// plain.
enum class Layout : std::uint8_t {
  plain,         ///< row-major
  blocked,       ///< nChw16c with AVX-512, nChw8c without: channels in blocks, the last padded with zeros
  channels_last  ///< of levels of 8 bits: the channels of a pixel together, up to a multiple of kChannels
};
inline constexpr std::int64_t kChannels = 4;

/// Channels per block: those of our kernels for the selected instruction set.
[[nodiscard]] std::int64_t block_size();

/// Pixels of an image, or of a volume: elements of one channel.
[[nodiscard]] std::int64_t area_of(std::span<const std::int64_t> shape);
/// Elements of an array of `shape` in `layout`, padding included.
[[nodiscard]] std::int64_t elements_in(std::span<const std::int64_t> shape, Layout layout);
/// True where plain and blocked float32 of this shape are the same bytes: one pixel and whole blocks, or not
/// four axes.
[[nodiscard]] bool blocks_are_plain(std::span<const std::int64_t> shape);

}  // namespace rdquant::runtime::native
