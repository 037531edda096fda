#pragma once

#include <string>
#include <string_view>

/// Text from files, which may be any bytes, as messages and callers can take it.
namespace rdquant::core {

[[nodiscard]] bool is_utf8(std::string_view text) noexcept;

/// The text with U+FFFD for each byte that is not UTF-8.
[[nodiscard]] std::string as_utf8(std::string text);

/// The text as messages quote it: in quotes, without control characters, cut where it is long.
[[nodiscard]] std::string in_quotes(std::string_view text);

}  // namespace rdquant::core
