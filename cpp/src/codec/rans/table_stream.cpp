#include "rdquant/codec/table_stream.hpp"

#include <algorithm>
#include <array>

#include "codec/rans/scalar_stream.hpp"

namespace rdquant::codec {
namespace {

constexpr std::uint32_t kSlots = 65536, kBin = 1024;

/// Widths of intervals that add up to kSlots: at least 1 where a level occurs.
std::vector<std::uint32_t> widths_of(std::span<const std::int8_t> levels, std::int32_t least,
                                     std::int32_t most) {
  std::vector<std::uint64_t> counts(static_cast<std::size_t>(most - least + 1), 0);
  for (const std::int8_t level : levels) ++counts[static_cast<std::size_t>(level - least)];
  std::vector<std::uint32_t> widths;
  std::int64_t left = kSlots;
  for (const std::uint64_t n : counts) {
    const std::uint64_t width = (n * kSlots + levels.size() / 2) / levels.size();
    widths.push_back(n == 0 ? 0 : static_cast<std::uint32_t>(std::max<std::uint64_t>(1, width)));
    left -= widths.back();
  }
  auto largest = std::ranges::max_element(widths);
  *largest = static_cast<std::uint32_t>(static_cast<std::int64_t>(*largest) + left);
  return widths;
}

}  // namespace

TableStream encode_table_stream(std::span<const std::int8_t> levels) {
  TableStream made;
  if (levels.empty()) return made;
  const auto [low, high] = std::ranges::minmax_element(levels);
  made.least = *low;
  const std::vector<std::uint32_t> widths = widths_of(levels, *low, *high);
  std::vector<Packed> intervals;
  std::uint32_t start = 0;
  made.edges.push_back(kSlots - 1);
  for (const std::uint32_t width : widths) {
    while (made.bins.size() * kBin < start + width)
      made.bins.push_back(static_cast<std::uint8_t>(intervals.size()));
    intervals.push_back(start << 16 | (width & 0xffff));
    start += width;
    made.edges.push_back(static_cast<std::uint16_t>(start - 1));
  }
  StreamEncoder encoder;
  for (std::size_t i = levels.size(); i-- > 0 && widths.size() > 1;)  // one level alone takes no bits
    encoder.add(intervals[static_cast<std::size_t>(levels[i] - made.least)]);
  const std::vector<std::uint8_t> bytes = encoder.finish();
  std::size_t at = 0;
  for (const std::size_t held = bytes.size() < 4 ? bytes.size() : 4 - bytes.size() % 2; at < held; ++at)
    made.state |= static_cast<std::uint32_t>(bytes[at]) << (8 * at);
  for (; at < bytes.size(); at += 2)
    made.words.push_back(static_cast<std::uint16_t>(bytes[at] | bytes[at + 1] << 8));
  return made;
}

std::vector<std::int8_t> decode_table_stream(const TableStream& stream, std::size_t count) {
  std::vector<std::int8_t> levels;
  std::uint32_t state = stream.state;
  auto next = stream.words.begin();
  while (levels.size() < count) {
    const std::uint32_t slot = state & 0xffff;
    std::uint32_t symbol = stream.bins[slot / kBin];
    while (slot > stream.edges[symbol + 1]) ++symbol;
    const std::uint32_t first = (stream.edges[symbol] + 1U) & 0xffff;
    state = (stream.edges[symbol + 1] - first + 1) * (state >> 16) + slot - first;
    if (state < 65536 && next != stream.words.end()) state = state << 16 | *next++;
    levels.push_back(static_cast<std::int8_t>(stream.least + static_cast<std::int32_t>(symbol)));
  }
  return levels;
}

}  // namespace rdquant::codec
