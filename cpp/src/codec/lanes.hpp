#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "bytes.hpp"
#include "model.hpp"

/// Interleaved rANS (Duda, 2013; Giesen, 2014) of the coarse levels of some rows of a tensor. Kernel q of the
/// rows belongs to lane q mod lanes; tap by tap, the lanes take turns. A state is 32 bits, at least 2^16
/// between two symbols, and refilled by 16-bit words, which all lanes take from one sequence.
namespace rdquant::codec {

/// Interval [start, start + width) of a symbol out of kTotal.
struct Interval {
  std::uint32_t symbol;
  std::uint32_t start;
  std::uint32_t width;
};

/// Interval of a symbol that is known, `mean` in 1/16 level.
[[nodiscard]] inline std::uint32_t symbol_start(const Model& model, const Cells& cells, std::int32_t mean,
                                                std::int32_t multiplier, std::uint32_t symbol,
                                                std::int32_t dead) noexcept {
  if (symbol == 0) return 0;
  if (symbol >= model.symbols()) return kTotal;
  if (model.table) return model.cumulated[symbol];
  const std::int32_t v = rounded(mean) - model.window + static_cast<std::int32_t>(symbol);
  return symbol + cumulative(cells, lower_edge(v, dead) - mean, multiplier);
}
[[nodiscard]] inline std::uint32_t symbol_start(const Model& model, const Cells& cells, std::int32_t mean,
                                                std::int32_t multiplier, std::uint32_t symbol) noexcept {
  return symbol_start(model, cells, mean, multiplier, symbol, model.dead);
}

/// What the kernels of all instruction sets take.
struct LaneTask {
  const Model* model = nullptr;
  const Cells* cells = nullptr;
  std::size_t first_row = 0;
  std::size_t rows = 0;
  std::size_t lanes = 1;
  const std::int32_t* kernel_scales =
      nullptr;  ///< row + column scale of every kernel; kMaxLanes more readable
  std::array<std::uint32_t, kMaxLanes> states{};
  const std::uint8_t* words = nullptr;  ///< kPadding zero bytes follow `words_end`
  const std::uint8_t* words_end = nullptr;
  Reader* excess = nullptr;     ///< of residuals beyond the window
  std::int32_t* out = nullptr;  ///< rows·cols·taps coarse levels
};
inline constexpr std::size_t kPadding = 4 * kMaxLanes;

/// Adds what lies beyond the window to a residual at its edge.
/// @throws CorruptFile  the level leaves ±2·kReach.
[[nodiscard]] std::int32_t with_excess(std::int32_t level, bool positive, Reader& excess);

/// Decode all rows of a task; false if the words run out.
/// The plain kernel is the definition; AVX2 needs 8, 16 or 32 lanes, AVX-512 16 or 32.
[[nodiscard]] bool decode_lanes_plain(LaneTask& task);
[[nodiscard]] bool decode_lanes_avx2(LaneTask& task);
[[nodiscard]] bool decode_lanes_avx512(LaneTask& task);

/// Coarse levels of rows [first_row, first_row + rows) to bytes and back. `levels` points at the first of
/// them; decoding throws CorruptFile.
[[nodiscard]] std::vector<std::uint8_t> encode_rows(const Model& model, const Cells& cells,
                                                    std::size_t first_row, std::size_t rows,
                                                    std::size_t lanes, const std::int32_t* levels);
void decode_rows(const Model& model, const Cells& cells, std::size_t first_row, std::size_t rows,
                 std::size_t lanes, Reader& in, std::int32_t* levels);

}  // namespace rdquant::codec
