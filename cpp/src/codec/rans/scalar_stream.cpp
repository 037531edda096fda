#include "codec/rans/scalar_stream.hpp"

#include <algorithm>
#include <bit>

namespace rdquant::codec {

std::vector<std::uint8_t> StreamEncoder::finish() const {
  auto held = static_cast<std::size_t>((std::bit_width(state_) + 7) / 8);
  if (!words_.empty()) held = std::max<std::size_t>(held, 3);
  std::vector<std::uint8_t> bytes;
  for (std::size_t i = 0; i < held; ++i) bytes.push_back(static_cast<std::uint8_t>(state_ >> (8 * i)));
  for (std::size_t i = words_.size(); i-- > 0;) {
    bytes.push_back(static_cast<std::uint8_t>(words_[i]));
    bytes.push_back(static_cast<std::uint8_t>(words_[i] >> 8));
  }
  return bytes;
}

StreamDecoder::StreamDecoder(std::span<const std::uint8_t> bytes) : bytes_(bytes) {
  const std::size_t held = bytes.size() < 4 ? bytes.size() : 4 - bytes.size() % 2;
  for (; at_ < held; ++at_) state_ |= static_cast<std::uint32_t>(bytes[at_]) << (8 * at_);
}

}  // namespace rdquant::codec
