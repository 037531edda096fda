#include "emit/constants.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <utility>

namespace rdquant::emit {
namespace {

template <typename T>
std::string hexadecimal(T value) {
  std::array<char, 64> text{};
  const auto end =
      std::to_chars(text.data(), text.data() + text.size(), std::abs(value), std::chars_format::hex);
  return (std::signbit(value) ? "-0x" : "0x") + std::string(text.data(), end.ptr);
}

constexpr std::int64_t kAlignment = 4;

std::int64_t aligned(std::int64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace

std::string float_text(float value) { return hexadecimal(value) + "F"; }

std::string comment_text(const std::string& name) {
  std::string text;
  for (const char c : name) {
    const bool printable = c >= 32 && c < 127 && c != '\\';
    text += c == '*' || c == '?' || !printable ? '_' : c;
  }
  return text;
}

template <typename T, typename Show>
std::string Constants::array(const std::string& type, const std::string& what, std::span<const T> values,
                             Show show) {
  constexpr std::size_t kWidth = 120;
  std::string body, line = "   ";
  for (const T value : values) {
    const std::string text = " " + show(value) + ",";
    if (line.size() + text.size() > kWidth) body += std::exchange(line, "   ") + "\n";
    line += text;
  }
  body += line + "\n";
  const auto [found, fresh] = known_.try_emplace(type + body, prefix_ + "_" + what + std::to_string(next_));
  if (!fresh) return found->second;
  ++next_;
  text_ += "static const " + type + " " + found->second + "[" + std::to_string(values.size()) +
           "] RDQ_ALIGNED = {\n" + body + "};\n";
  bytes_ += aligned(static_cast<std::int64_t>(values.size_bytes()));
  return found->second;
}

std::string Constants::levels(const std::string& what, std::span<const std::int8_t> values) {
  return array("int8_t", what, values, [](std::int8_t v) { return std::to_string(v); });
}

std::string Constants::integers(const std::string& what, std::span<const std::int32_t> values) {
  return array("int32_t", what, values, [](std::int32_t v) {
    return v == INT32_MIN ? std::string("(-2147483647 - 1)") : std::to_string(v);
  });
}

std::string Constants::octets(const std::string& what, std::span<const std::uint8_t> values) {
  return array("uint8_t", what, values, [](std::uint8_t v) { return std::to_string(v); });
}

std::string Constants::indices(const std::string& what, std::span<const std::uint16_t> values) {
  return array("uint16_t", what, values, [](std::uint16_t v) { return std::to_string(v); });
}

std::string Constants::floats(const std::string& what, std::span<const float> values) {
  return array("float", what, values, float_text);
}

std::string Constants::doubles(const std::string& what, std::span<const double> values) {
  return array("double", what, values, hexadecimal<double>);
}

std::string Constants::structure(const std::string& type, const std::string& what, const std::string& text,
                                 std::int64_t bytes) {
  const std::string name = prefix_ + "_" + what + std::to_string(next_++);
  text_ += "static const " + type + " " + name + " = " + text + ";\n";
  bytes_ += aligned(bytes);
  return "&" + name;
}

void Constants::comment(const std::string& text) { text_ += "\n/* " + comment_text(text) + " */\n"; }

}  // namespace rdquant::emit
