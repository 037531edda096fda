#include "graph/wire.hpp"

#include <bit>

#include "rdquant/core/error.hpp"
#include "rdquant/core/text.hpp"

namespace rdquant::graph {
namespace {

constexpr std::uint32_t kMostNumber = (1U << 29U) - 1;

std::uint64_t little_endian(Bytes bytes) noexcept {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i) value |= std::uint64_t{bytes[i]} << (8 * i);
  return value;
}

}  // namespace

bool read_varint(Bytes bytes, std::size_t& at, std::uint64_t& value) noexcept {
  value = 0;
  for (unsigned shift = 0; shift < 64 && at < bytes.size(); shift += 7) {
    const std::uint8_t byte = bytes[at++];
    if (shift == 63 && byte > 1) return false;
    value |= std::uint64_t{byte & 0x7FU} << shift;
    if (byte < 0x80) return true;
  }
  return false;
}

void Message::damaged(const std::string& what) const {
  throw core::CorruptFile(source_->name() + ": " + what);
}

std::uint64_t Message::varint(std::size_t& at, const char* what, std::uint32_t number) const {
  const std::size_t start = at;
  std::uint64_t value = 0;
  if (read_varint(bytes_, at, value)) return value;
  std::string problem = " runs past the end of its message";
  if (at - start >= 10)
    problem = bytes_[at - 1] < 0x80 ? " does not fit 64 bits" : " is longer than 10 bytes";
  const std::string field = number == 0 ? "" : "field " + std::to_string(number) + " of ";
  damaged(what + field + "the " + std::string(kind_) + " at byte " + std::to_string(offset() + start) +
          problem + "; the file is cut short or no ONNX model");
}

bool Message::next(Field& field) {
  if (at_ >= bytes_.size()) return false;
  const std::size_t start = at_;
  const auto where = [&] { return " at byte " + std::to_string(offset() + start); };
  const std::uint64_t key = varint(at_, "a field key of ", 0);
  const std::uint64_t number = key >> 3U;
  if (number == 0 || number > kMostNumber) {
    damaged("the " + std::string(kind_) + " has field number " + std::to_string(number) + where() +
            "; it is not an ONNX file");
  }
  field.number = static_cast<std::uint32_t>(number);
  field.wire = static_cast<Wire>(key & 7U);
  std::uint64_t length = 0;
  switch (field.wire) {
    case Wire::varint:
      field.value = varint(at_, "", field.number);
      break;
    case Wire::length:
      length = varint(at_, "the length of ", field.number);
      break;
    case Wire::fixed32:
      length = 4;
      break;
    case Wire::fixed64:
      length = 8;
      break;
    default:
      damaged("the " + std::string(kind_) + " has a field of wire type " + std::to_string(key & 7U) +
              where() + ", which ONNX never uses; it is not an ONNX file, or a damaged one");
  }
  const std::size_t left = bytes_.size() - at_;
  if (length > left) {
    damaged("field " + std::to_string(number) + " of the " + std::string(kind_) + where() + " claims " +
            std::to_string(length) + " bytes, but " + std::to_string(left) +
            " are left; the file is cut short or damaged");
  }
  field.bytes = bytes_.subspan(at_, static_cast<std::size_t>(length));
  at_ += static_cast<std::size_t>(length);
  if (field.wire == Wire::fixed32 || field.wire == Wire::fixed64) field.value = little_endian(field.bytes);
  field.whole = bytes_.subspan(start, at_ - start);
  return true;
}

void Message::fail(const Field& field, const char* name, const std::string& what) const {
  damaged("field " + std::string(name) + " of the " + std::string(kind_) + " at byte " +
          std::to_string(source_->offset_of(field.whole.data())) + " " + what);
}

void Message::expect(const Field& field, const char* name, Wire wire) const {
  if (field.wire == wire) return;
  fail(field, name,
       "has wire type " + std::to_string(static_cast<int>(field.wire)) + ", " +
           std::to_string(static_cast<int>(wire)) + " is expected");
}

void Message::once(const Field& field, const char* name) {
  const std::uint64_t bit = std::uint64_t{1} << (field.number % 64);
  if ((seen_ & bit) != 0) fail(field, name, "is there a second time");
  seen_ |= bit;
}

std::string Message::binary(const Field& field, const char* name) const {
  expect(field, name, Wire::length);
  return {reinterpret_cast<const char*>(field.bytes.data()), field.bytes.size()};
}

std::string Message::text(const Field& field, const char* name) const {
  expect(field, name, Wire::length);
  std::string out = binary(field, name);
  if (!core::is_utf8(out)) fail(field, name, "is not UTF-8 text");
  return out;
}

Bytes Message::message(const Field& field, const char* name) const {
  expect(field, name, Wire::length);
  return field.bytes;
}

std::int64_t Message::integer(const Field& field, const char* name) const {
  expect(field, name, Wire::varint);
  return static_cast<std::int64_t>(field.value);
}

float Message::real(const Field& field, const char* name) const {
  expect(field, name, Wire::fixed32);
  return std::bit_cast<float>(static_cast<std::uint32_t>(field.value));
}

void Message::integers(const Field& field, const char* name, std::vector<std::int64_t>& out) const {
  if (field.wire == Wire::varint) return out.push_back(integer(field, name));
  expect(field, name, Wire::length);
  for (std::size_t at = 0; at < field.bytes.size();) {
    std::uint64_t value = 0;
    if (!read_varint(field.bytes, at, value))
      fail(field, name, "holds a number that is cut or beyond 64 bits");
    out.push_back(static_cast<std::int64_t>(value));
  }
}

void Message::reals(const Field& field, const char* name, std::vector<float>& out) const {
  if (field.wire == Wire::fixed32) return out.push_back(real(field, name));
  expect(field, name, Wire::length);
  if (field.bytes.size() % 4 != 0) fail(field, name, "holds a float that is cut");
  for (std::size_t at = 0; at < field.bytes.size(); at += 4) {
    out.push_back(
        std::bit_cast<float>(static_cast<std::uint32_t>(little_endian(field.bytes.subspan(at, 4)))));
  }
}

}  // namespace rdquant::graph
