#pragma once

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <vector>

/// What tests with mutated bytes share.
namespace fuzzing {

/// RDQUANT_FUZZ sets the number of mutations that a test reads; the default suits a test suite.
inline std::size_t rounds() {
  const char* const requested = std::getenv("RDQUANT_FUZZ");
  return requested == nullptr ? 1500 : static_cast<std::size_t>(std::strtoull(requested, nullptr, 10));
}

/// RDQUANT_FUZZ_SEED makes other mutations.
inline std::uint32_t seed() {
  const char* const requested = std::getenv("RDQUANT_FUZZ_SEED");
  return requested == nullptr ? 2027U : static_cast<std::uint32_t>(std::strtoul(requested, nullptr, 10));
}

/// Writes the bytes to the file that RDQUANT_FUZZ_KEEP names, so that those which end the program can be read again.
inline void keep(const std::vector<std::uint8_t>& bytes) {
  static const char* const path = std::getenv("RDQUANT_FUZZ_KEEP");
  if (path == nullptr) return;
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

}  // namespace fuzzing
