#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "codec/format/bytes.hpp"
#include "rdquant/codec/levels.hpp"

/// Coded levels, split into parts that can be decoded independently.
namespace rdquant::codec {

enum Method : std::uint8_t { kConstant, kPacked, kFast, kMax, kSparse, kReferring };

enum PartFlag : std::uint8_t { kLogStreams = 7, kManyParts = 8, kExcesses = 16 };

inline constexpr std::uint64_t kMaxSize = std::uint64_t{1} << 40;
inline constexpr std::size_t kMaxRank = 32;

/// Reads the header of coded levels. @throws CorruptFile
[[nodiscard]] LevelsHeader read_header(Reader& in, Method& method);

/// Parts in the order of their levels, which lie end to end; several may be decoded at a time.
class LevelParts {
 public:
  LevelParts() = default;
  LevelParts(const LevelParts&) = delete;
  LevelParts& operator=(const LevelParts&) = delete;
  virtual ~LevelParts() = default;

  [[nodiscard]] virtual std::size_t parts() const noexcept = 0;
  /// Number of the first level of a part, and of levels in it.
  [[nodiscard]] virtual std::size_t first(std::size_t p) const noexcept = 0;
  [[nodiscard]] virtual std::size_t size(std::size_t p) const noexcept = 0;
  /// @throws CorruptFile
  virtual void decode(std::size_t p, std::span<std::int32_t> levels) const = 0;
};

/// The parts of what `encode_levels` wrote, `size` levels in all; they view `bytes`. Without levels there are
/// no parts.
///
/// @throws CorruptFile  damaged bytes before the parts. InvalidArgument: another number of levels.
[[nodiscard]] std::unique_ptr<LevelParts> open_levels(std::span<const std::uint8_t> bytes,
                                                      std::uint64_t size);

}  // namespace rdquant::codec
