#include <doctest/doctest.h>

#include <cstdint>
#include <random>
#include <vector>

#include "codec/format/bits.hpp"
#include "variants.hpp"

using namespace rdquant::codec;

namespace {

/// That every instruction set adds the low bits of eight levels at a time, as long as eight bytes are left.
void check_eights(const std::vector<std::int32_t>& coarse, const std::vector<std::int32_t>& wanted,
                  const std::vector<std::uint8_t>& packed, int width, std::size_t first,
                  std::uint32_t centre) {
  for (const AddLowBits* add : rdquant::runnable(RDQUANT_VARIANTS_TO_AVX2(add_low_bits_of_eight))) {
    std::vector<std::int32_t> some = coarse;
    const std::size_t done = (*add)(some, packed, width, first, centre);
    REQUIRE(done % 8 == 0);
    REQUIRE(done + 64 / static_cast<std::size_t>(width) + 8 > coarse.size());
    for (std::size_t i = 0; i < coarse.size(); ++i) REQUIRE(some[i] == (i < done ? wanted[i] : coarse[i]));
  }
}

}  // namespace

TEST_CASE("low bits come back, wherever they begin") {
  std::mt19937 random(4);
  for (int width = 1; width <= 32; ++width) {
    for (const std::size_t count : {1U, 7U, 8U, 9U, 63U, 500U}) {
      const auto centre = static_cast<std::uint32_t>(random());
      std::vector<std::int32_t> levels(count), low(count), coarse(count);
      for (std::size_t i = 0; i < count; ++i) {
        coarse[i] = static_cast<std::int32_t>(random() % 2001) - 1000;
        const std::uint64_t mask = (std::uint64_t{1} << width) - 1, bits = random() & mask;
        low[i] = static_cast<std::int32_t>(static_cast<std::uint32_t>(bits));
        const auto high = static_cast<std::uint64_t>(static_cast<std::int64_t>(coarse[i])) << width;
        levels[i] = static_cast<std::int32_t>(static_cast<std::uint32_t>(high | bits) + centre);
      }
      Writer out;
      write_bits(out, low, 0, width);
      const std::vector<std::uint8_t> packed = out.take();
      for (std::size_t first = 0; first < count; first += 1 + first / 3) {
        std::vector<std::int32_t> some(coarse.begin() + static_cast<std::ptrdiff_t>(first), coarse.end());
        const std::vector<std::int32_t> wanted(levels.begin() + static_cast<std::ptrdiff_t>(first),
                                               levels.end());
        if (width <= 8) check_eights(some, wanted, packed, width, first, centre);
        add_low_bits(some, packed, width, first, centre);
        REQUIRE(some == wanted);
      }
    }
  }
}
