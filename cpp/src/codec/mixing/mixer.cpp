#include "codec/mixing/mixer.hpp"

#include "codec/model/density.hpp"

namespace rdquant::codec {
namespace {

/// 65536/(1 + exp(−x/256)) for x = −2047 … 2047.
std::array<std::uint16_t, 4096> make_squash() {
  std::array<std::uint16_t, 4096> table{};
  for (std::int32_t x = -2048; x < 2048; ++x) {
    // exp(−|x|/256) = 2^(−|x|·log2(e)/256); log2(e)/256 = 24204406/2^32
    const std::uint64_t magnitude = static_cast<std::uint64_t>(x < 0 ? -x : x);
    const auto down = static_cast<std::uint32_t>((magnitude * 24204406) >> 16);  // in 1/65536
    const std::uint32_t fraction = (65536 - (down & 65535)) & 65535;
    const std::uint32_t whole = (down + 65535) >> 16;
    const std::uint64_t e = power_of_two(fraction) >> whole;  // exp(−|x|/256)·2^31
    const std::uint64_t one = std::uint64_t{1} << 31;
    const std::uint64_t p = ((x < 0 ? e : one) << 16) / (one + e);
    table[static_cast<std::size_t>(x + 2048)] = static_cast<std::uint16_t>(p > 65535 ? 65535 : p);
  }
  return table;
}

const std::array<std::uint16_t, 4096>& squashed() {
  static const auto table = make_squash();
  return table;
}

/// For every p/4096, the largest x whose squashed value does not exceed it.
std::array<std::int16_t, 4096> make_stretch() {
  std::array<std::int16_t, 4096> table{};
  std::int32_t x = -2047;
  for (std::uint32_t p = 0; p < 4096; ++p) {
    while (x < 2047 && squashed()[static_cast<std::size_t>(x + 1 + 2048)] <= p * 16 + 8) ++x;
    table[p] = static_cast<std::int16_t>(x);
  }
  return table;
}

}  // namespace

std::int32_t stretch(std::uint32_t p) noexcept {
  static const auto table = make_stretch();
  return table[p >> 4];
}

std::uint32_t squash(std::int32_t x) noexcept { return squashed()[static_cast<std::size_t>(x + 2048)]; }

}  // namespace rdquant::codec
