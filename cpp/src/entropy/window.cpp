#include "entropy/window.hpp"

#include "simd/dispatch.hpp"

namespace rdquant::entropy {

std::size_t baseline::count_window(const std::int32_t* symbols, std::size_t n, std::int32_t centre,
                                   std::uint64_t* sums, std::int32_t* outside) {
  constexpr std::uint32_t kWidth = kWindowLow + kWindowHigh + 1;
  const auto low = static_cast<std::uint32_t>(centre) - kWindowLow;
  std::int32_t* end = outside;
  for (std::size_t i = 0; i < n; i += 8) {
    for (std::size_t j = 0; j < 8; ++j) {
      const std::uint32_t number = static_cast<std::uint32_t>(symbols[i + j]) - low;
      if (number < kWidth) {
        ++sums[8 * number + j];
      } else {
        *end++ = symbols[i + j];
      }
    }
  }
  return static_cast<std::size_t>(end - outside);
}

CountWindow& selected_count_window() {
  return RDQUANT_LEAF(vpopcntdq, avx512vpopcntdq::count_window, baseline::count_window);
}

}  // namespace rdquant::entropy
