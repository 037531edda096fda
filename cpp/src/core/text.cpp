#include "rdquant/core/text.hpp"

#include <cstdint>

namespace rdquant::core {
namespace {

constexpr std::size_t kMostQuoted = 120;  // bytes
constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

std::uint8_t byte_at(std::string_view text, std::size_t at) noexcept {
  return static_cast<std::uint8_t>(text[at]);
}

/// Bytes of the UTF-8 character at `at`; 0 where there is none.
std::size_t character(std::string_view text, std::size_t at) noexcept {
  const std::uint8_t first = byte_at(text, at);
  if (first < 0x80) return 1;
  const std::size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || length > text.size() - at) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte_at(text, at + i) & 0xC0U) != 0x80) return 0;
  }
  const std::uint8_t second = byte_at(text, at + 1);
  // Longer than needed, surrogates, beyond U+10FFFF.
  if ((first == 0xE0 && second < 0xA0) || (first == 0xED && second > 0x9F)) return 0;
  if ((first == 0xF0 && second < 0x90) || (first == 0xF4 && second > 0x8F)) return 0;
  return length;
}

}  // namespace

bool is_utf8(std::string_view text) noexcept {
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = character(text, at);
    if (length == 0) return false;
    at += length;
  }
  return true;
}

std::string as_utf8(std::string text) {
  if (is_utf8(text)) return text;
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = character(text, at);
    out += length == 0 ? kReplacement : std::string_view(text).substr(at, length);
    at += length == 0 ? 1 : length;
  }
  return out;
}

std::string in_quotes(std::string_view text) {
  std::string out = "'";
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = character(text, at);
    if (at + length > kMostQuoted) return out + "…'";
    const bool plain = length > 1 || (length == 1 && byte_at(text, at) >= 0x20 && text[at] != 0x7F);
    out += plain ? text.substr(at, length) : kReplacement;
    at += length == 0 ? 1 : length;
  }
  return out + "'";
}

}  // namespace rdquant::core
