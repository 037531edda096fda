#pragma once

#include <cstddef>
#include <cstdint>

/// Counting symbols of which nearly all lie in a window of 63 values.
namespace rdquant::entropy {

constexpr std::size_t kWindowBlock = 512;  ///< symbols counted together
constexpr std::int32_t kWindowLow = 32;    ///< the window is [centre − 32, centre + 30]
constexpr std::int32_t kWindowHigh = 30;
constexpr std::size_t kWindowSums = 64 * 8;  ///< eight partial sums a value; the last value is not used

/// Adds the counts of the symbols inside the window to `sums` (8·(symbol − centre + 32) + any of 0..7),
/// writes the other symbols to `outside`, which has room for n, in any order, and returns their number. n is
/// a multiple of kWindowBlock.
using CountWindow = std::size_t(const std::int32_t* symbols, std::size_t n, std::int32_t centre,
                                std::uint64_t* sums, std::int32_t* outside);

/// The fastest of the following that this processor runs and RDQUANT_ISA allows.
CountWindow& selected_count_window();

namespace baseline {
/// The definition; eight sums in turn, so that a run of one symbol does not wait for its own stores.
CountWindow count_window;
}  // namespace baseline

namespace avx512vpopcntdq {
/// By bit planes: 512 symbols at a time are cut into the six planes of their bits, and a symbol's occurrences
/// are the ones in the product of the six planes, each as it is or inverted.
CountWindow count_window;
}  // namespace avx512vpopcntdq

}  // namespace rdquant::entropy
