#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>

namespace rdquant::emit {

/// Constant arrays and structs as C text, with the bytes that they take on a core with 32-bit pointers. Equal arrays are
/// written once.
class Constants {
 public:
  explicit Constants(std::string prefix) : prefix_(std::move(prefix)) {}

  /// The array's name in C; `what` is a part of it.
  std::string levels(const std::string& what, std::span<const std::int8_t> values);
  std::string integers(const std::string& what, std::span<const std::int32_t> values);
  std::string octets(const std::string& what, std::span<const std::uint8_t> values);
  std::string indices(const std::string& what, std::span<const std::uint16_t> values);
  std::string floats(const std::string& what, std::span<const float> values);
  std::string doubles(const std::string& what, std::span<const double> values);
  /// A struct of `type` and `bytes`, initialised by `text`: "&name".
  std::string structure(const std::string& type, const std::string& what, const std::string& text,
                        std::int64_t bytes);
  void comment(const std::string& text);

  [[nodiscard]] const std::string& text() const { return text_; }
  [[nodiscard]] std::int64_t bytes() const { return bytes_; }

 private:
  template <typename T, typename Show>
  std::string array(const std::string& type, const std::string& what, std::span<const T> values, Show show);

  std::string prefix_, text_;
  std::int64_t bytes_ = 0;
  int next_ = 0;
  std::map<std::string, std::string> known_;  ///< type and values → name
};

/// A float32 of C that has these bits: "0x1.8p-3F".
[[nodiscard]] std::string float_text(float value);

/// A name of the model that can stand in a comment of C, whatever is in it.
[[nodiscard]] std::string comment_text(const std::string& name);

}  // namespace rdquant::emit
