#include "rdquant/codec/container.hpp"

#include <algorithm>
#include <array>

#include "codec/format/bytes.hpp"
#include "rdquant/core/text.hpp"

namespace rdquant::codec {
namespace {

constexpr std::array<std::uint8_t, 8> kMagic = {0x89, 'R', 'D', 'Q', '\r', '\n', 0x1a, '\n'};
constexpr std::uint32_t kMostTable = 1U << 28;
constexpr std::uint64_t kMostLength = std::uint64_t{1} << 48;

}  // namespace

std::uint32_t table_length(std::span<const std::uint8_t> head) {
  Reader in(head, "head");
  if (head.size() < kMagic.size() || !std::equal(kMagic.begin(), kMagic.end(), head.begin())) {
    in.fail("not an .rdq file");
  }
  (void)in.take(kMagic.size());
  const std::uint32_t version = in.u32();
  if (version == 0) in.fail("version 0");
  if (version > kVersion) {
    throw core::Unsupported("this .rdq file has version " + std::to_string(version) +
                            "; this program reads version " + std::to_string(kVersion) + " and older");
  }
  const std::uint32_t length = in.u32();
  if (length > kMostTable) in.fail("a table of " + std::to_string(length) + " bytes");
  (void)in.u32();
  return length;
}

std::vector<Section> read_table(std::span<const std::uint8_t> head_and_table) {
  const std::uint32_t length =
      table_length(head_and_table.first(std::min(kHeadBytes, head_and_table.size())));
  Reader head(head_and_table, "head");
  (void)head.take(kHeadBytes - 4);
  const std::uint32_t crc = head.u32();
  const auto table = head.take(length);
  Reader in(table, "table");
  if (crc32(table) != crc) in.fail("the table's checksum differs");
  const std::uint64_t count = in.bounded(length / 7, "number of sections");
  std::vector<Section> sections;
  std::uint64_t offset = kHeadBytes + length;
  for (std::uint64_t i = 0; i < count; ++i) {
    Section s;
    s.kind = in.byte();
    const auto name = in.block();
    s.name.assign(name.begin(), name.end());
    if (!core::is_utf8(s.name)) in.fail("the name " + core::in_quotes(s.name) + ", which is not UTF-8");
    s.offset = offset;
    s.length = in.bounded(kMostLength, "length of a section");
    s.crc = in.u32();
    offset += s.length;  // count < 2^28 sections of < 2^48 bytes: no overflow
    if (offset > kMostLength) in.fail("sections of more than 2^48 bytes");
    sections.push_back(std::move(s));
  }
  in.finish();
  return sections;
}

std::span<const std::uint8_t> unchecked_bytes(std::span<const std::uint8_t> file, const Section& section) {
  if (section.offset > file.size() || section.length > file.size() - section.offset) {
    throw core::CorruptFile(
        "section '" + printable(section.name) + "', offset " + std::to_string(section.offset) +
        ": the file is cut short: " + std::to_string(section.length) + " bytes expected from here, " +
        std::to_string(file.size() - std::min(section.offset, std::uint64_t{file.size()})) + " found");
  }
  return file.subspan(static_cast<std::size_t>(section.offset), static_cast<std::size_t>(section.length));
}

std::span<const std::uint8_t> section_bytes(std::span<const std::uint8_t> file, const Section& section) {
  const auto bytes = unchecked_bytes(file, section);
  check_section(bytes, section);
  return bytes;
}

void check_section(std::span<const std::uint8_t> bytes, const Section& section) {
  if (bytes.size() < section.length) {
    throw core::CorruptFile("section '" + printable(section.name) + "', offset " +
                            std::to_string(section.offset) +
                            ": the file is cut short: " + std::to_string(section.length) +
                            " bytes expected from here, " + std::to_string(bytes.size()) + " found");
  }
  if (bytes.size() != section.length || crc32(bytes) != section.crc) {
    throw core::CorruptFile("section '" + printable(section.name) + "', offset " +
                            std::to_string(section.offset) + ": the checksum differs, the bytes are damaged");
  }
}

void FileWriter::add(SectionKind kind, const std::string& name, std::vector<std::uint8_t> bytes) {
  Section s;
  s.kind = static_cast<std::uint8_t>(kind);
  s.name = name;
  s.length = bytes.size();
  s.crc = crc32(bytes);
  table_.push_back(std::move(s));
  sections_.push_back(std::move(bytes));
}

std::vector<std::uint8_t> FileWriter::head() const {
  Writer table;
  table.varint(table_.size());
  for (const Section& s : table_) {
    table.byte(s.kind);
    table.block({reinterpret_cast<const std::uint8_t*>(s.name.data()), s.name.size()});
    table.varint(s.length);
    table.u32(s.crc);
  }
  const auto bytes = table.take();
  Writer out;
  out.append(kMagic);
  out.u32(kVersion);
  out.u32(static_cast<std::uint32_t>(bytes.size()));
  out.u32(crc32(bytes));
  out.append(bytes);
  return out.take();
}

}  // namespace rdquant::codec
