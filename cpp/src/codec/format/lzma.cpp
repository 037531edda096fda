#include "rdquant/codec/lzma.hpp"

#include <algorithm>
#include <array>
#include <limits>

#include "codec/format/bytes.hpp"

namespace rdquant::codec {
namespace {

constexpr std::uint32_t kMostDictionary = 1U << 26;
constexpr std::uint64_t kUnknownSize = std::numeric_limits<std::uint64_t>::max();
constexpr unsigned kProbabilityBits = 11, kMoveBits = 5;
constexpr std::uint32_t kTop = 1U << 24;
constexpr unsigned kStates = 12, kPositions = 16, kLengthStates = 4, kAlignBits = 4;
constexpr unsigned kEndDistance = 14;  // slots from here on have direct bits
constexpr unsigned kFullDistances = 128;
constexpr std::uint32_t kShortest = 2;  // of a match

using Probability = std::uint16_t;
constexpr Probability kHalf = (1U << kProbabilityBits) / 2;

template <std::size_t N>
struct Probabilities : std::array<Probability, N> {
  Probabilities() { this->fill(kHalf); }
};

/// The range coder: bits under adaptive probabilities.
class Bits {
 public:
  explicit Bits(Reader& in) : in_(in) {
    if (in_.byte() != 0) in_.fail("an LZMA stream begins with 0");
    for (int i = 0; i < 4; ++i) code_ = (code_ << 8U) | in_.byte();
  }

  unsigned bit(Probability& p) {
    const std::uint32_t bound = (range_ >> kProbabilityBits) * p;
    const bool one = code_ >= bound;
    if (one) {
      code_ -= bound;
      range_ -= bound;
      p = static_cast<Probability>(p - (p >> kMoveBits));
    } else {
      range_ = bound;
      p = static_cast<Probability>(p + (((1U << kProbabilityBits) - p) >> kMoveBits));
    }
    normalize();
    return one ? 1 : 0;
  }

  std::uint32_t direct(unsigned count) {
    std::uint32_t value = 0;
    for (; count > 0; --count) {
      range_ >>= 1U;
      const bool one = code_ >= range_;
      if (one) code_ -= range_;
      value = (value << 1U) | (one ? 1 : 0);
      normalize();
    }
    return value;
  }

  /// `count` bits under a tree of 2^count probabilities, high bits first.
  std::uint32_t tree(std::span<Probability> tree, unsigned count) {
    std::uint32_t node = 1;
    for (unsigned i = 0; i < count; ++i) node = (node << 1U) | bit(tree[node]);
    return node - (1U << count);
  }

  /// The same, low bits first.
  std::uint32_t reverse_tree(std::span<Probability> tree, unsigned count) {
    std::uint32_t node = 1, value = 0;
    for (unsigned i = 0; i < count; ++i) {
      const unsigned one = bit(tree[node]);
      node = (node << 1U) | one;
      value |= one << i;
    }
    return value;
  }

  [[nodiscard]] bool finished() const noexcept { return code_ == 0; }

 private:
  void normalize() {
    if (range_ >= kTop) return;
    range_ <<= 8U;
    code_ = (code_ << 8U) | in_.byte();
  }

  Reader& in_;
  std::uint32_t range_ = 0xFFFFFFFFU, code_ = 0;
};

/// Lengths of matches, less the shortest.
class Lengths {
 public:
  std::uint32_t read(Bits& bits, unsigned position) {
    if (bits.bit(beyond_low_) == 0) return bits.tree(low_[position], 3);
    if (bits.bit(beyond_middle_) == 0) return 8 + bits.tree(middle_[position], 3);
    return 16 + bits.tree(high_, 8);
  }

 private:
  Probability beyond_low_ = kHalf, beyond_middle_ = kHalf;
  std::array<Probabilities<8>, kPositions> low_, middle_;
  Probabilities<256> high_;
};

class Decoder {
 public:
  Decoder(Reader& in, std::uint64_t limit) : in_(in), limit_(limit) {
    const unsigned properties = in.byte();
    literal_context_ = properties % 9;
    literal_position_ = properties / 9 % 5;
    position_bits_ = properties / 45;
    if (properties >= 225 || literal_context_ + literal_position_ > 4) {
      in.fail("properties " + std::to_string(properties) + " of LZMA, which are not supported");
    }
    dictionary_ = std::max(in.u32(), 1U << 12);
    if (dictionary_ > kMostDictionary) {
      in.fail("a dictionary of " + std::to_string(dictionary_) + " bytes, 2^26 are allowed");
    }
    size_ = in.u64();
    if (size_ != kUnknownSize && size_ > limit_) too_large(size_);
    literals_.assign(std::size_t{0x300} << (literal_context_ + literal_position_), kHalf);
  }

  std::vector<std::uint8_t> run() {
    Bits bits(in_);
    while (true) {
      // Where the header gives the size, an end marker may follow all the same.
      if (out_.size() == size_ && bits.finished() && in_.left() == 0) break;
      const unsigned position = static_cast<unsigned>(out_.size()) & ((1U << position_bits_) - 1);
      if (bits.bit(is_match_[state_][position]) == 0) {
        literal(bits);
        continue;
      }
      const std::uint32_t length = match(bits, position);
      if (length == 0) break;
    }
    if (!bits.finished() || in_.left() != 0 || (size_ != kUnknownSize && size_ != out_.size())) {
      in_.fail("the LZMA stream does not end where the section does");
    }
    return std::move(out_);
  }

 private:
  [[noreturn]] void too_large(std::uint64_t size) const {
    in_.fail(std::to_string(size) + " bytes or more when unpacked, " + std::to_string(limit_) +
             " are allowed");
  }

  void append(std::uint8_t byte) {
    if (out_.size() >= std::min(limit_, size_)) too_large(out_.size() + 1);
    out_.push_back(byte);
  }

  [[nodiscard]] std::uint8_t back(std::uint32_t distance) const { return out_[out_.size() - distance]; }

  void literal(Bits& bits) {
    const unsigned before = out_.empty() ? 0 : out_.back();
    const unsigned context =
        ((static_cast<unsigned>(out_.size()) & ((1U << literal_position_) - 1)) << literal_context_) +
        (before >> (8 - literal_context_));
    const std::span<Probability> tree = std::span(literals_).subspan(std::size_t{0x300} * context, 0x300);
    unsigned symbol = 1;
    if (state_ >= 7) {
      unsigned matched = back(recent_[0] + 1);
      while (symbol < 0x100) {
        const unsigned expected = (matched >> 7U) & 1U;
        matched <<= 1U;
        const unsigned bit = bits.bit(tree[((1 + expected) << 8U) + symbol]);
        symbol = (symbol << 1U) | bit;
        if (expected != bit) break;
      }
    }
    while (symbol < 0x100) symbol = (symbol << 1U) | bits.bit(tree[symbol]);
    append(static_cast<std::uint8_t>(symbol));
    state_ = state_ < 4 ? 0 : state_ < 10 ? state_ - 3 : state_ - 6;
  }

  /// A match, copied; its length, or 0 for the end marker.
  std::uint32_t match(Bits& bits, unsigned position) {
    std::uint32_t length = 0;
    if (bits.bit(is_repeat_[state_]) == 0) {
      recent_ = {0, recent_[0], recent_[1], recent_[2]};
      length = kShortest + lengths_.read(bits, position);
      state_ = state_ < 7 ? 7 : 10;
      recent_[0] = distance(bits, length);
      if (recent_[0] == 0xFFFFFFFFU) return 0;
    } else {
      const unsigned state = state_;
      if (bits.bit(is_repeat_0_[state]) == 0) {
        if (bits.bit(is_long_[state][position]) == 0) length = 1;
      } else {
        repeat_older(bits, state);
      }
      state_ = length == 1 ? (state < 7 ? 9 : 11) : (state < 7 ? 8 : 11);
      if (length == 0) length = kShortest + repeat_lengths_.read(bits, position);
    }
    if (recent_[0] >= dictionary_ || recent_[0] >= out_.size()) {
      in_.fail("a distance of " + std::to_string(std::uint64_t{recent_[0]} + 1) +
               " bytes, before the beginning");
    }
    for (std::uint32_t i = 0; i < length; ++i) append(back(recent_[0] + 1));
    return length;
  }

  /// Takes the second to fourth distance of late for the first.
  void repeat_older(Bits& bits, unsigned state) {
    std::uint32_t taken = 0;
    if (bits.bit(is_repeat_1_[state]) == 0) {
      taken = recent_[1];
    } else {
      if (bits.bit(is_repeat_2_[state]) == 0) {
        taken = recent_[2];
      } else {
        taken = recent_[3];
        recent_[3] = recent_[2];
      }
      recent_[2] = recent_[1];
    }
    recent_[1] = recent_[0];
    recent_[0] = taken;
  }

  std::uint32_t distance(Bits& bits, std::uint32_t length) {
    const unsigned kind = std::min(length - kShortest, kLengthStates - 1);
    const std::uint32_t slot = bits.tree(slots_[kind], 6);
    if (slot < 4) return slot;
    const unsigned more = (slot >> 1U) - 1;
    std::uint32_t value = (2U | (slot & 1U)) << more;
    if (slot < kEndDistance) {
      // The trees of these slots lie one after the other.
      return value + bits.reverse_tree(std::span<Probability>(distances_).subspan(value - slot), more);
    }
    value += bits.direct(more - kAlignBits) << kAlignBits;
    return value + bits.reverse_tree(align_, kAlignBits);
  }

  Reader& in_;
  std::uint64_t limit_, size_ = kUnknownSize;
  unsigned literal_context_ = 0, literal_position_ = 0, position_bits_ = 0, state_ = 0;
  std::uint32_t dictionary_ = 0;
  std::array<std::uint32_t, 4> recent_ = {};  // distances of late, less 1
  std::vector<std::uint8_t> out_;
  std::vector<Probability> literals_;
  std::array<Probabilities<kPositions>, kStates> is_match_, is_long_;
  Probabilities<kStates> is_repeat_, is_repeat_0_, is_repeat_1_, is_repeat_2_;
  Lengths lengths_, repeat_lengths_;
  std::array<Probabilities<64>, kLengthStates> slots_;
  Probabilities<1 + kFullDistances - kEndDistance> distances_;
  Probabilities<1U << kAlignBits> align_;
};

}  // namespace

std::vector<std::uint8_t> unpack_lzma(std::span<const std::uint8_t> bytes, const std::string& section,
                                      std::uint64_t limit) {
  Reader in(bytes, section);
  return Decoder(in, limit).run();
}

}  // namespace rdquant::codec
