#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <string_view>
#include <vector>

/// Protobuf messages as trees of fields: written, read back, and mutated so that lengths still agree.
namespace protobuf {

using Bytes = std::vector<std::uint8_t>;

inline void append(Bytes& out, const Bytes& more) { out.insert(out.end(), more.begin(), more.end()); }

inline void append_varint(Bytes& out, std::uint64_t value) {
  for (; value > 0x7F; value >>= 7U) out.push_back(static_cast<std::uint8_t>(value | 0x80U));
  out.push_back(static_cast<std::uint8_t>(value));
}

/// Reads a varint; false at the end.
inline bool take_varint(const Bytes& in, std::size_t& at, std::uint64_t& value) {
  value = 0;
  for (unsigned shift = 0; shift < 64 && at < in.size(); shift += 7) {
    const std::uint8_t byte = in[at++];
    value |= std::uint64_t{byte & 0x7FU} << shift;
    if (byte < 0x80) return true;
  }
  return false;
}

struct Field {
  std::uint32_t number = 0;
  std::uint32_t wire = 0;
  std::uint64_t value = 0;    // of a varint
  Bytes bytes;                // of a fixed number, or a text
  bool message = false;       // its contents are fields
  std::vector<Field> fields;  // then
};

inline Bytes written(const std::vector<Field>& fields) {
  Bytes out;
  for (const Field& field : fields) {
    append_varint(out, (std::uint64_t{field.number} << 3U) | field.wire);
    if (field.wire == 0) append_varint(out, field.value);
    const Bytes inner = field.message ? written(field.fields) : field.bytes;
    if (field.wire == 2) append_varint(out, inner.size());
    if (field.wire != 0) append(out, inner);
  }
  return out;
}

inline Field number(std::uint32_t at, std::int64_t value) {
  return {at, 0, static_cast<std::uint64_t>(value), {}, false, {}};
}
inline Field text(std::uint32_t at, std::string_view value) {
  return {at, 2, 0, Bytes(value.begin(), value.end()), false, {}};
}
inline Field blob(std::uint32_t at, Bytes value) { return {at, 2, 0, std::move(value), false, {}}; }
inline Field message(std::uint32_t at, std::vector<Field> fields) {
  return {at, 2, 0, {}, true, std::move(fields)};
}
inline Field real(std::uint32_t at, float value) {
  const auto* const bytes = reinterpret_cast<const std::uint8_t*>(&value);
  return {at, 5, 0, Bytes(bytes, bytes + 4), false, {}};
}

/// Kind of a message and number of a field → kind of the message in it, for ONNX.
inline std::string child(const std::string& kind, std::uint32_t number) {
  static const std::map<std::string, std::map<std::uint32_t, std::string>> kChildren = {
      {"model", {{7, "graph"}, {8, "opset"}, {14, "entry"}, {25, "function"}}},
      {"graph", {{1, "node"}, {5, "tensor"}, {11, "port"}, {12, "port"}, {13, "port"}}},
      {"node", {{5, "attribute"}}},
      {"attribute", {{5, "tensor"}, {6, "graph"}}},
      {"tensor", {{13, "entry"}}},
      {"port", {{2, "type"}}},
      {"type", {{1, "tensor type"}}},
      {"tensor type", {{2, "shape"}}},
      {"shape", {{1, "dimension"}}},
      {"function", {{7, "node"}, {9, "opset"}, {11, "attribute"}}}};
  const auto fields = kChildren.find(kind);
  if (fields == kChildren.end()) return "";
  const auto found = fields->second.find(number);
  return found == fields->second.end() ? "" : found->second;
}

inline std::vector<Field> parsed(const Bytes& bytes, const std::string& kind) {
  std::vector<Field> out;
  for (std::size_t at = 0; at < bytes.size();) {
    std::uint64_t key = 0, length = 0;
    if (!take_varint(bytes, at, key)) break;
    Field field = {
        static_cast<std::uint32_t>(key >> 3U), static_cast<std::uint32_t>(key & 7U), 0, {}, false, {}};
    if (field.wire == 0 && !take_varint(bytes, at, field.value)) break;
    if (field.wire == 2 && !take_varint(bytes, at, length)) break;
    if (field.wire == 5) length = 4;
    if (field.wire == 1) length = 8;
    length = std::min<std::uint64_t>(length, bytes.size() - at);
    const auto begin = bytes.begin() + static_cast<std::ptrdiff_t>(at);
    field.bytes.assign(begin, begin + static_cast<std::ptrdiff_t>(length));
    at += static_cast<std::size_t>(length);
    const std::string inner = child(kind, field.number);
    if (field.wire == 2 && !inner.empty()) {
      field.message = true;
      field.fields = parsed(field.bytes, inner);
      field.bytes.clear();
    }
    out.push_back(std::move(field));
  }
  return out;
}

/// Mutates a tree of fields.
class Mutator {
 public:
  explicit Mutator(std::mt19937& engine) : engine_(engine) {}

  Bytes mutated(const Bytes& seed, const std::string& kind) {
    Bytes out = seed;
    if (below(8) != 0) {
      std::vector<Field> root = parsed(seed, kind);
      for (std::uint32_t i = 1 + below(3); i > 0; --i) change(root);
      out = written(root);
    }
    if (below(5) == 0) damage(out);
    return out;
  }

  /// Changes bytes without regard to what they mean.
  void damage(Bytes& bytes) {
    for (std::uint32_t i = 1 + below(3); i > 0 && !bytes.empty(); --i) {
      const std::size_t at = place(bytes.size());
      const auto where = bytes.begin() + static_cast<std::ptrdiff_t>(at);
      const std::size_t count = std::min<std::size_t>(1 + below(16), bytes.size() - at);
      const auto end = where + static_cast<std::ptrdiff_t>(count);
      switch (below(6)) {
        case 0:
          *where = static_cast<std::uint8_t>(*where ^ (1U << below(8)));
          break;
        case 1:
          *where = static_cast<std::uint8_t>(
              pick({0, 1, 0x7F, 0x80, 0xFF, static_cast<std::int64_t>(engine_() & 0xFFU)}));
          break;
        case 2:
          bytes.erase(where, end);
          break;
        case 3: {
          const Bytes piece(where, end);
          bytes.insert(where, piece.begin(), piece.end());
          break;
        }
        case 4: {
          Bytes large;
          append_varint(large, std::uint64_t{1} << below(64));
          std::copy_n(large.begin(), std::min(large.size(), bytes.size() - at), where);
          break;
        }
        default:
          bytes.resize(at);
      }
    }
  }

 private:
  std::uint32_t below(std::uint32_t count) { return static_cast<std::uint32_t>(engine_() % count); }
  std::size_t place(std::size_t count) { return static_cast<std::size_t>(engine_()) % count; }
  std::int64_t pick(std::initializer_list<std::int64_t> values) {
    return *(values.begin() + below(static_cast<std::uint32_t>(values.size())));
  }
  std::int64_t integer() {
    if (below(3) == 0) return static_cast<std::int64_t>(below(40)) - 5;
    return pick({0, 1, -1, 2, 3, 7, 13, 16, 64, 255, 1LL << 16, (1LL << 31) - 1, 1LL << 31, -(1LL << 31),
                 1LL << 40, 1LL << 60, 1LL << 62, (1ULL << 63U) - 1, -(1LL << 62) - (1LL << 62)});
  }

  /// All messages of a tree, the root included.
  static void collect(std::vector<Field>& fields, std::vector<std::vector<Field>*>& all) {
    if (!fields.empty()) all.push_back(&fields);
    for (Field& field : fields) collect(field.fields, all);
  }
  std::vector<Field>* some(std::vector<Field>& root) {
    std::vector<std::vector<Field>*> all;
    collect(root, all);
    return all.empty() ? nullptr : all[place(all.size())];
  }

  void change(std::vector<Field>& root) {
    std::vector<Field>* const fields = some(root);
    if (fields == nullptr) return;
    const std::size_t at = place(fields->size());
    const auto where = fields->begin() + static_cast<std::ptrdiff_t>(at);
    switch (below(10)) {
      case 0:
        fields->erase(where);
        break;
      case 1: {
        const Field copy = *where;
        fields->insert(where, copy);
        break;
      }
      case 2:
        std::swap(*where, (*fields)[place(fields->size())]);
        break;
      case 3: {  // another field, from anywhere; a message may then stand within itself
        const std::vector<Field>* const from = some(root);
        const Field copy = (*from)[place(from->size())];
        (*fields)[at] = copy;
        break;
      }
      case 4:
        where->number = below(4) == 0 ? below(30) : where->number + 1 - 2 * below(2);
        break;
      case 5:
        nest(*where);
        break;
      default:
        change_value(*where);
    }
  }

  /// Graphs within attributes of nodes, many levels deep.
  void nest(Field& field) {
    for (std::uint32_t i = below(4) == 0 ? 120 : below(4); i > 0; --i) {
      const std::uint32_t kinds[] = {1, 5, 6};
      Field outer = message(kinds[i % 3], {std::move(field)});
      field = std::move(outer);
    }
  }

  void change_value(Field& field) {
    if (field.wire == 0) {
      field.value = below(4) == 0 ? field.value + 1 - 2 * below(2) : static_cast<std::uint64_t>(integer());
      return;
    }
    if (field.message) {
      field.fields.clear();
      return;
    }
    switch (below(5)) {
      case 0:
        damage(field.bytes);
        break;
      case 1:
        field.bytes.resize(place(field.bytes.size() + 9));
        break;
      case 2: {  // a packed field of other numbers
        field.bytes.clear();
        for (std::uint32_t i = below(6); i > 0; --i)
          append_varint(field.bytes, static_cast<std::uint64_t>(integer()));
        break;
      }
      case 3: {  // one of little-endian numbers of 8 bytes, as in tensors of sizes
        for (std::size_t at = 0; at + 8 <= field.bytes.size(); at += 8) {
          const auto value = static_cast<std::uint64_t>(integer());
          for (std::size_t i = 0; below(2) == 0 && i < 8; ++i) {
            field.bytes[at + i] = static_cast<std::uint8_t>(value >> (8 * i));
          }
        }
        break;
      }
      default:
        if (!field.bytes.empty())
          field.bytes[place(field.bytes.size())] = static_cast<std::uint8_t>(engine_() & 0xFFU);
    }
  }

  std::mt19937& engine_;
};

}  // namespace protobuf
