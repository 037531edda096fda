// Low bits of eight levels at a time. Included by one file per instruction set, which sets RDQUANT_KERNELS_ISA.
#include "codec/format/bits.hpp"
#include "simd/vector.inl"

namespace rdquant::codec {
namespace {

// Eight values of up to 8 bits begin at the same bit of a byte each time and lie in 64 bits.
std::size_t add_to_eights(std::span<std::int32_t> levels, std::span<const std::uint8_t> packed, int width,
                          std::size_t first, std::uint32_t centre) {
  using Held = simd::Vector<std::uint64_t, 4>;
  using Levels = simd::Vector<std::int32_t, 8>;
  const auto w = static_cast<std::uint64_t>(width), bit = first * w, at = bit % 8;
  const std::uint64_t starts[] = {at, at + 2 * w, at + 4 * w, at + 6 * w};
  const Held even = simd::load_as<Held>(starts), odd = even + w;
  const Held mask = simd::splat_as<Held>((std::uint64_t{1} << width) - 1);
  const auto centres = static_cast<std::int32_t>(centre);
  const std::uint8_t* from = packed.data() + bit / 8;
  const std::uint8_t* const end = packed.data() + packed.size();
  std::size_t i = 0;
  if constexpr (std::endian::native != std::endian::little) return i;
  for (; i + 8 <= levels.size() && from + 8 <= end; i += 8, from += width) {
    std::uint64_t held;
    std::memcpy(&held, from, 8);
    const Held all = simd::splat_as<Held>(held);
    const Held evens = shift_right_by(all, even) & mask, odds = shift_right_by(all, odd) & mask;
    const auto low = simd::bits_as<Levels>(evens | (odds << 32));
    const auto high = simd::load_as<Levels>(levels.data() + i) << width;
    simd::store_as(levels.data() + i, (high | low) + centres);
  }
  return i;
}

}  // namespace

namespace RDQUANT_KERNELS_ISA {
const AddLowBits add_low_bits_of_eight = add_to_eights;
}
}  // namespace rdquant::codec
