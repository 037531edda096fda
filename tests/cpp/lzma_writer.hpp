#pragma once

#include <array>
#include <cstdint>

#include "protobuf.hpp"

/// LZMA_alone streams that hold literals only: larger than what they pack, but valid.
namespace lzma_writer {

using protobuf::Bytes;

class Bits {
 public:
  void bit(std::uint16_t& p, unsigned value) {
    const std::uint32_t bound = (range_ >> 11U) * p;
    if (value == 0) {
      range_ = bound;
      p = static_cast<std::uint16_t>(p + ((2048 - p) >> 5));
    } else {
      low_ += bound;
      range_ -= bound;
      p = static_cast<std::uint16_t>(p - (p >> 5));
    }
    for (; range_ < (1U << 24U); range_ <<= 8U) shift();
  }

  Bytes finish() {
    for (int i = 0; i < 5; ++i) shift();
    return std::move(out_);
  }

 private:
  void shift() {
    if (low_ < 0xFF000000U || low_ > 0xFFFFFFFFU) {
      const auto carry = static_cast<std::uint8_t>(low_ >> 32U);
      out_.push_back(static_cast<std::uint8_t>(cache_ + carry));
      for (; pending_ > 0; --pending_) out_.push_back(static_cast<std::uint8_t>(0xFF + carry));
      cache_ = static_cast<std::uint8_t>(low_ >> 24U);
    } else {
      ++pending_;
    }
    low_ = (low_ & 0x00FFFFFFU) << 8U;
  }

  Bytes out_;
  std::uint64_t low_ = 0;
  std::uint32_t range_ = 0xFFFFFFFFU;
  std::uint8_t cache_ = 0;
  std::uint64_t pending_ = 0;
};

inline Bytes packed(const Bytes& bytes) {
  Bytes out = {0, 0, 0, 1, 0};  // no contexts, a dictionary of 64 KB
  for (unsigned i = 0; i < 8; ++i)
    out.push_back(static_cast<std::uint8_t>(std::uint64_t{bytes.size()} >> (8 * i)));
  Bits bits;
  std::array<std::uint16_t, 0x300> tree;
  tree.fill(1024);
  std::uint16_t is_match = 1024;
  for (const std::uint8_t byte : bytes) {
    bits.bit(is_match, 0);
    unsigned node = 1;
    for (int i = 7; i >= 0; --i) {
      const unsigned bit = (byte >> static_cast<unsigned>(i)) & 1U;
      bits.bit(tree[node], bit);
      node = (node << 1U) | bit;
    }
  }
  protobuf::append(out, bits.finish());
  return out;
}

}  // namespace lzma_writer
