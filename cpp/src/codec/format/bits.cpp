#include "codec/format/bits.hpp"

#include "simd/dispatch.hpp"

namespace rdquant::codec {

void add_low_bits(std::span<std::int32_t> levels, std::span<const std::uint8_t> packed, int width,
                  std::size_t first, std::uint32_t centre) {
  if (width <= 8) {
    const AddLowBits add = simd::selected(RDQUANT_VARIANTS_TO_AVX2(add_low_bits_of_eight));
    const std::size_t done = add(levels, packed, width, first, centre);
    levels = levels.subspan(done);
    first += done;
  }
  BitReader bits(packed, width, first);
  for (std::int32_t& v : levels) {
    const auto wide = static_cast<std::uint64_t>(static_cast<std::int64_t>(v)) << width;
    v = static_cast<std::int32_t>(static_cast<std::uint32_t>(wide | bits.next()) + centre);
  }
}

}  // namespace rdquant::codec
