#include "codec/format/bits.hpp"

#include "rdquant/core/cpu.hpp"

namespace rdquant::codec {

void add_low_bits(std::span<std::int32_t> levels, std::span<const std::uint8_t> packed, int width,
                  std::size_t first, std::uint32_t centre) {
#if defined(__x86_64__)
  if (width <= 8 && core::selected_isa() >= core::Isa::avx2) {
    const std::size_t done = add_low_bits_avx2(levels, packed, width, first, centre);
    levels = levels.subspan(done);
    first += done;
  }
#endif
  BitReader bits(packed, width, first);
  for (std::int32_t& v : levels) {
    const auto wide = static_cast<std::uint64_t>(static_cast<std::int64_t>(v)) << width;
    v = static_cast<std::int32_t>(static_cast<std::uint32_t>(wide | bits.next()) + centre);
  }
}

}  // namespace rdquant::codec
