#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "codec/format/bytes.hpp"
#include "codec/model/model.hpp"
#include "codec/rans/scalar_stream.hpp"
#include "codec/rdo/trellis_code.hpp"

/// Interleaved rANS (Duda, 2013; Giesen, 2014) of the coarse levels of some rows of a tensor. Slice q of the
/// rows belongs to stream q mod streams; tap by tap, the streams take turns. A state is 32 bits, at least 2^16
/// between two symbols, and refilled by 16-bit words, which all streams take from one sequence.
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

inline constexpr std::uint32_t kBinSlots = 32;

/// What is decoded with: the model and what follows from it.
struct Tables {
  explicit Tables(const Model& m);
  const Model& model;
  Cells cells{};    ///< of computed probabilities
  Guesses guesses;  ///< of computed probabilities
  /// Of sent probabilities, for every kBinSlots slots: the symbol that holds the first of them, ·2^16, and
  /// the last slot of that symbol.
  std::vector<std::uint32_t> bins;
};

/// What the kernels of all instruction sets take.
struct StreamTask {
  const Model* model = nullptr;
  const Tables* tables = nullptr;
  std::size_t first = 0;  ///< slice
  std::size_t last = 0;   ///< slice, not decoded any more
  std::size_t streams = 1;
  const std::int16_t* slice_scales =
      nullptr;  ///< row + column scale of every slice; kMaxStreams more readable
  std::array<std::uint32_t, kMaxStreams> states{};
  const std::uint8_t* words = nullptr;  ///< kPadding zero bytes follow `words_end`
  const std::uint8_t* words_end = nullptr;
  Reader* excess = nullptr;       ///< of residuals beyond the window
  std::int32_t* out = nullptr;    ///< coarse levels, tap by tap
  ChainStates* chains = nullptr;  ///< of a trellis; the plain kernel alone decodes these
};
inline constexpr std::size_t kPadding = 4 * kMaxStreams;

/// Adds the excess to a residual at the edge of the window.
/// @throws CorruptFile  the level leaves ±2·kReach.
[[nodiscard]] std::int32_t with_excess(std::int32_t level, bool positive, Reader& excess);

/// Decodes all slices of a task; false if the words run out. This is the definition.
[[nodiscard]] bool decode_streams_plain(StreamTask& task);

/// The same with vectors. `decode_single`: from a stream of one state, of computed probabilities. No trellis.
struct StreamKernels {
  std::size_t least_streams;  ///< that `decode` takes: 8 or 16; twice and four times as many, too
  bool (*decode)(StreamTask&);
  void (*decode_single)(const StreamTask&, StreamDecoder&);
};
namespace baseline {
extern const StreamKernels stream_kernels;
}
namespace avx2 {
extern const StreamKernels stream_kernels;
}
namespace avx512 {
extern const StreamKernels stream_kernels;
}

/// A coded part and the excesses of its residuals, in order of decoding.
struct CodedRows {
  std::vector<std::uint8_t> bytes;
  std::vector<std::uint8_t> excess;
};

/// Streams of the tail, which the final states of `streams` streams hold; 0 where they hold nothing.
[[nodiscard]] constexpr std::size_t tail_streams(std::size_t streams) noexcept {
  return streams > 8 ? 8 : (streams > 1 ? 1 : 0);
}

/// Coarse levels of rows [first_row, first_row + rows) to bytes and back. `levels` points at the first of
/// them; decoding throws CorruptFile.
[[nodiscard]] CodedRows encode_rows(const Tables& tables, std::size_t first_row, std::size_t rows,
                                    std::size_t streams, const std::int32_t* levels);
void decode_rows(const Tables& tables, std::size_t first_row, std::size_t rows, std::size_t streams,
                 Reader& excess, Reader& in, std::int32_t* levels);

/// The same for `slices` slices whose scales are given, and kMaxStreams more.
[[nodiscard]] CodedRows encode_slices(const Tables& tables, std::unique_ptr<std::int16_t[]> scales,
                                      std::size_t slices, std::size_t streams, const std::int32_t* levels);
void decode_slices(const Tables& tables, const std::int16_t* scales, std::size_t slices, std::size_t streams,
                   Reader& excess, Reader& in, std::int32_t* levels);

/// Row + column scale of every slice of the rows, and kMaxStreams unused ones.
[[nodiscard]] std::unique_ptr<std::int16_t[]> slice_scales(const Model& model, std::size_t first_row,
                                                           std::size_t rows);

/// What position (slice q, tap t) is predicted with; `levels` points at slice 0.
struct Prediction {
  std::int32_t mean = 0;
  std::int32_t multiplier = 0;
  std::int32_t dead = 0;
};
[[nodiscard]] Prediction prediction_at(const Model& model, const std::int16_t* scales, std::size_t q,
                                       std::size_t t, const std::int32_t* levels) noexcept;

/// Multiplier from which on most residuals are next to 0: a mean of |z| below two levels.
inline constexpr std::int32_t kNarrow = 1024;

/// The symbol whose interval holds `slot`, and the level that a symbol means.
[[nodiscard]] Interval find_interval(const Tables& tables, const Prediction& p, std::uint32_t slot);
[[nodiscard]] std::int32_t level_of(const Model& model, const Prediction& p, std::uint32_t symbol,
                                    Reader& excess);

/// Makes a prediction that of the halved level of a trellis, where `odd` levels are allowed or even ones.
inline void halve(Prediction& p, bool odd) noexcept {
  p.mean = halved_mean(p.mean, odd);
  if (odd) p.dead = 0;
}

}  // namespace rdquant::codec
