#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "rdquant/graph/source.hpp"

/// The protobuf wire format, field by field. https://protobuf.dev/programming-guides/encoding
namespace rdquant::graph {

enum class Wire : std::uint8_t { varint = 0, fixed64 = 1, length = 2, fixed32 = 5 };

/// One field of a message.
struct Field {
  std::uint32_t number = 0;
  Wire wire = Wire::varint;
  std::uint64_t value = 0;  ///< of a varint or fixed number, its bits
  Bytes bytes;              ///< of a field with a length, or of a fixed number
  Bytes whole;              ///< key and length included
};

/// Reads the fields of one message. All members but `offset` throw CorruptFile, naming the source, the message,
/// the field and its offset in the source.
class Message {
 public:
  /// kind: what messages call it, such as "node". The source must outlive this object.
  Message(const Source& source, Bytes bytes, std::string_view kind)
      : source_(&source), bytes_(bytes), kind_(kind) {}

  /// Reads the next field; false at the end.
  [[nodiscard]] bool next(Field& field);

  /// Contents of a field that the caller knows the type of; `name` is the field's in onnx.proto.
  [[nodiscard]] std::string text(const Field& field, const char* name) const;    ///< checked to be UTF-8
  [[nodiscard]] std::string binary(const Field& field, const char* name) const;  ///< not checked
  [[nodiscard]] Bytes message(const Field& field, const char* name) const;
  [[nodiscard]] std::int64_t integer(const Field& field, const char* name) const;
  [[nodiscard]] float real(const Field& field, const char* name) const;
  /// Appends one number, or those of a packed field.
  void integers(const Field& field, const char* name, std::vector<std::int64_t>& out) const;
  void reals(const Field& field, const char* name, std::vector<float>& out) const;

  /// Refuses the second occurrence of a field that may stand once.
  void once(const Field& field, const char* name);

  [[noreturn]] void fail(const Field& field, const char* name, const std::string& what) const;
  [[nodiscard]] std::size_t offset() const noexcept { return source_->offset_of(bytes_.data()); }

 private:
  [[nodiscard]] std::uint64_t varint(std::size_t& at, const char* what, std::uint32_t number) const;
  void expect(const Field& field, const char* name, Wire wire) const;
  [[noreturn]] void damaged(const std::string& what) const;

  const Source* source_;
  Bytes bytes_;
  std::string_view kind_;
  std::size_t at_ = 0;
  std::uint64_t seen_ = 0;  // fields that `once` has met, a bit each
};

/// Reads the base-128 number at `bytes[at]` and steps over it; false where it is cut, or beyond 64 bits.
[[nodiscard]] bool read_varint(Bytes bytes, std::size_t& at, std::uint64_t& value) noexcept;

}  // namespace rdquant::graph
