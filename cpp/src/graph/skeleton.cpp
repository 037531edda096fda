// A serialised model without the bytes of its big tensors.
#include <array>
#include <string>
#include <utility>

#include "graph/wire.hpp"
#include "rdquant/core/error.hpp"
#include "rdquant/graph/onnx.hpp"

namespace rdquant::graph {
namespace {

constexpr int kMaxDepth = 100;  // protobuf's own limit on nested messages

enum class Kind : std::uint8_t { model, graph, node, attribute, tensor, other };
constexpr std::array<std::string_view, 5> kNames = {"model", "graph", "node", "attribute", "tensor"};

/// The kind of the message in a field: the way from a model to its tensors.
Kind child(Kind kind, std::uint32_t number) {
  switch (kind) {
    case Kind::model:
      return number == 7 ? Kind::graph : Kind::other;
    case Kind::graph:
      return number == 1 ? Kind::node : number == 5 ? Kind::tensor : Kind::other;
    case Kind::node:
      return number == 5 ? Kind::attribute : Kind::other;
    case Kind::attribute:
      if (number == 5 || number == 10) return Kind::tensor;
      return number == 6 || number == 11 ? Kind::graph : Kind::other;
    default:
      return Kind::other;
  }
}

class Stripper {
 public:
  explicit Stripper(const Source& source) : source_(source) {}

  std::vector<std::uint8_t> message(Bytes bytes, Kind kind, int depth) const {
    if (depth > kMaxDepth) {
      throw core::CorruptFile(source_.name() + ": messages are nested deeper than " +
                              std::to_string(kMaxDepth) + " levels at byte " +
                              std::to_string(source_.offset_of(bytes.data())));
    }
    if (kind == Kind::tensor) return tensor(bytes);
    std::vector<std::uint8_t> out;
    Message fields(source_, bytes, kNames[static_cast<std::size_t>(kind)]);
    for (Field field; fields.next(field);) {
      const Kind inner = child(kind, field.number);
      const bool big = kind == Kind::model || field.bytes.size() >= kBigTensor;
      if (inner == Kind::other || field.wire != Wire::length || !big) {
        append(out, field.whole);
        continue;
      }
      const std::vector<std::uint8_t> body = message(field.bytes, inner, depth + 1);
      append_key(out, field.number, body.size());
      append(out, body);
    }
    return out;
  }

 private:
  static void append(std::vector<std::uint8_t>& out, Bytes bytes) {
    out.insert(out.end(), bytes.begin(), bytes.end());
  }
  static void append(std::vector<std::uint8_t>& out, std::string_view text) {
    out.insert(out.end(), text.begin(), text.end());
  }
  static void append_varint(std::vector<std::uint8_t>& out, std::uint64_t value) {
    for (; value > 0x7F; value >>= 7U) out.push_back(static_cast<std::uint8_t>(value | 0x80U));
    out.push_back(static_cast<std::uint8_t>(value));
  }
  /// Key and length of a field whose `length` bytes follow.
  static void append_key(std::vector<std::uint8_t>& out, std::uint32_t number, std::size_t length) {
    append_varint(out, (number << 3U) | static_cast<std::uint32_t>(Wire::length));
    append_varint(out, length);
  }
  static void append_entry(std::vector<std::uint8_t>& out, std::string_view key, std::string_view value) {
    std::vector<std::uint8_t> entry;
    append_key(entry, 1, key.size());
    append(entry, key);
    append_key(entry, 2, value.size());
    append(entry, value);
    append_key(out, 13, entry.size());
    append(out, entry);
  }

  /// A TensorProto with its one big payload turned into external data; anything unusual stays as it is.
  std::vector<std::uint8_t> tensor(Bytes bytes) const {
    Field payload;
    int payloads = 0;
    bool located = false;
    Message fields(source_, bytes, "tensor");
    for (Field field; fields.next(field);) {
      located = located || field.number == 13 || field.number == 14;
      const bool is_payload = field.number >= 4 && field.number <= 11 && field.number != 8;
      if (!is_payload) continue;
      payload = field;
      ++payloads;
    }
    // Little-endian values end to end: packed floats and doubles, as raw_data has them.
    const bool dense = payload.number == 4 || payload.number == 9 || payload.number == 10;
    if (payloads != 1 || located || !dense || payload.wire != Wire::length ||
        payload.bytes.size() < kBigTensor) {
      return {bytes.begin(), bytes.end()};
    }
    std::vector<std::uint8_t> out;
    const std::uint8_t* const begin = payload.whole.data();
    append(out, Bytes(bytes.data(), begin));
    append(out, Bytes(begin + payload.whole.size(), bytes.data() + bytes.size()));
    append_entry(out, "location", kSelf);
    append_entry(out, "offset", std::to_string(source_.offset_of(payload.bytes.data())));
    append_entry(out, "length", std::to_string(payload.bytes.size()));
    append_varint(out, 14U << 3U);
    out.push_back(1);  // DataLocation.EXTERNAL
    return out;
  }

  const Source& source_;
};

}  // namespace

std::vector<std::uint8_t> skeleton(const Source& source) {
  return Stripper(source).message(source.bytes(), Kind::model, 0);
}

}  // namespace rdquant::graph
