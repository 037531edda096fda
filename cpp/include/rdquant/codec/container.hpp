#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

/// The compressed model file `.rdq`, version 1. With levels.hpp, floats.hpp and tensor.hpp this is the
/// specification: enough to write another reader. Integers are little-endian; varint and block as in
/// levels.hpp.
///
///     8 bytes  89 52 44 51 0D 0A 1A 0A ("\x89RDQ\r\n\x1a\n": a transfer as text, or cut, shows)
///     u32      version, 1
///     u32      length of the table
///     u32      CRC-32 of the table (IEEE 802.3, as zlib's crc32)
///     table    varint: number of sections; for each:
///                byte     kind: 1 graph, 2 facts, 3 tensor
///                block    name (UTF-8); of a tensor: the initializer's
///                varint   length
///                u32      CRC-32 of the section
///     sections one after the other, in the table's order, without gaps, to the end of the file
///
/// A section begins where the one before ends: sections cannot overlap, each can be read alone, and a reader
/// of a pipe meets the table first. A reader ignores kinds that it does not know. The graph section is an
/// LZMA_alone stream of the ONNX ModelProto without the tensors; facts are JSON; tensors are laid out as in
/// tensor.hpp. Each section's CRC is checked when it is read.
namespace rdquant::codec {

inline constexpr std::uint32_t kVersion = 1;
inline constexpr std::size_t kHeadBytes = 20;  ///< before the table

enum class SectionKind : std::uint8_t { graph = 1, facts = 2, tensor = 3 };

struct Section {
  std::uint8_t kind = 0;
  std::string name;
  std::uint64_t offset = 0;  ///< in the file
  std::uint64_t length = 0;
  std::uint32_t crc = 0;
};

/// CRC-32 of IEEE 802.3, continued from `before`.
[[nodiscard]] std::uint32_t crc32(std::span<const std::uint8_t> bytes, std::uint32_t before = 0);

/// Length of the table, from a file's first kHeadBytes bytes.
///
/// @throws CorruptFile  no .rdq file, or cut. Unsupported: a later version.
[[nodiscard]] std::uint32_t table_length(std::span<const std::uint8_t> head);

/// The sections, from a file's head and table.
///
/// @throws CorruptFile  a damaged table.
[[nodiscard]] std::vector<Section> read_table(std::span<const std::uint8_t> head_and_table);

/// The bytes of a section of a whole file in memory (or mapped).
///
/// @throws CorruptFile  the file ends before the section does.
[[nodiscard]] std::span<const std::uint8_t> unchecked_bytes(std::span<const std::uint8_t> file,
                                                            const Section& section);

/// The same, checked.
///
/// @throws CorruptFile  also if its CRC differs.
[[nodiscard]] std::span<const std::uint8_t> section_bytes(std::span<const std::uint8_t> file,
                                                          const Section& section);

/// @throws CorruptFile  the bytes are not those that the CRC was taken of.
void check_section(std::span<const std::uint8_t> bytes, const Section& section);

/// Puts a file together; sections are kept in the order of `add`.
class FileWriter {
 public:
  void add(SectionKind kind, const std::string& name, std::vector<std::uint8_t> bytes);
  /// Head and table.
  [[nodiscard]] std::vector<std::uint8_t> head() const;
  [[nodiscard]] const std::vector<std::vector<std::uint8_t>>& sections() const noexcept { return sections_; }

 private:
  std::vector<Section> table_;
  std::vector<std::vector<std::uint8_t>> sections_;
};

}  // namespace rdquant::codec
