#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "codec/format/bytes.hpp"
#include "rdquant/codec/container.hpp"

/// The fields of coded levels, tensors and files as a tree, which is written again with lengths and checksums
/// that fit: what mutates between both reaches the code behind those checks.
namespace format_tree {

using Bytes = std::vector<std::uint8_t>;
using rdquant::codec::Reader;
using rdquant::codec::Writer;

struct Field {
  enum class Kind : std::uint8_t { byte, varint, u32, u64, bytes, block, tail };
  Kind kind = Kind::byte;
  std::uint64_t value = 0;      ///< of byte … u64; of a block: what is added to its length
  Bytes raw;                    ///< of bytes; of a block or tail without fields
  std::vector<Field> fields{};  ///< of a block (length first), or a tail
};
using Fields = std::vector<Field>;

inline void write(Writer& out, const Fields& fields) {
  for (const Field& field : fields) {
    switch (field.kind) {
      case Field::Kind::byte:
        out.byte(static_cast<std::uint8_t>(field.value));
        break;
      case Field::Kind::varint:
        out.varint(field.value);
        break;
      case Field::Kind::u32:
        out.u32(static_cast<std::uint32_t>(field.value));
        break;
      case Field::Kind::u64:
        out.u64(field.value);
        break;
      case Field::Kind::bytes:
        out.append(field.raw);
        break;
      default: {
        Writer inside;
        write(inside, field.fields);
        inside.append(field.raw);
        const Bytes bytes = inside.take();
        if (field.kind == Field::Kind::block) out.varint(bytes.size() + field.value);
        out.append(bytes);
      }
    }
  }
}

inline Bytes written(const Fields& fields) {
  Writer out;
  write(out, fields);
  return out.take();
}

/// Reads fields, each of which is noted as it was.
class Parser {
 public:
  explicit Parser(Reader& in) : in_(in) {}

  std::uint64_t byte() { return note(Field::Kind::byte, in_.byte()); }
  std::uint64_t varint() { return note(Field::Kind::varint, in_.varint()); }
  std::uint64_t u32() { return note(Field::Kind::u32, in_.u32()); }
  std::uint64_t u64() { return note(Field::Kind::u64, in_.u64()); }
  void bytes(std::size_t count) { keep(Field::Kind::bytes, in_.take(count)); }
  void block() { keep(Field::Kind::block, in_.block()); }
  void rest() { keep(Field::Kind::tail, in_.rest()); }
  /// A block of fields that `parse` finds.
  template <typename Parse>
  void block_of(Parse&& parse) {
    nested(Field::Kind::block, in_.block(), parse);
  }
  template <typename Parse>
  void rest_of(Parse&& parse) {
    nested(Field::Kind::tail, in_.rest(), parse);
  }
  [[nodiscard]] std::size_t left() const { return in_.left(); }
  [[nodiscard]] Fields take() { return std::move(fields_); }

 private:
  std::uint64_t note(Field::Kind kind, std::uint64_t value) {
    fields_.push_back({kind, value, {}, {}});
    return value;
  }
  void keep(Field::Kind kind, std::span<const std::uint8_t> raw) {
    fields_.push_back({kind, 0, Bytes(raw.begin(), raw.end()), {}});
  }
  template <typename Parse>
  void nested(Field::Kind kind, std::span<const std::uint8_t> raw, Parse&& parse) {
    Reader inside(raw, "fields");
    Parser parser(inside);
    parse(parser);
    if (parser.left() > 0) parser.rest();
    fields_.push_back({kind, 0, {}, parser.take()});
  }

  Reader& in_;
  Fields fields_;
};

struct ModelFacts {
  bool table = false;
  std::uint64_t symbols = 0, shift = 0;
};

/// A model as rdquant/codec/levels.hpp lays it out.
inline ModelFacts parse_model(Parser& in) {
  ModelFacts facts;
  const std::uint64_t flags = in.byte();
  facts.table = (flags & 1) != 0;
  if ((flags & 64) != 0) facts.shift = in.byte();
  if ((flags & 32) != 0) in.varint();
  if ((flags & 128) != 0) in.byte(), in.varint();
  if (facts.table) {
    facts.symbols = in.varint();
    in.block();
    return facts;
  }
  in.byte();
  if (in.byte() == 255) in.byte();
  in.byte();
  if ((flags & 12) != 0) in.byte();
  if ((flags & 31) != 0) in.block();
  return facts;
}

/// Coded levels.
inline void parse_levels(Parser& in) {
  const std::uint64_t method = in.byte() >> 4, rank = in.varint();
  std::vector<std::uint64_t> shape;
  std::uint64_t size = 1, taps = 1;
  for (std::uint64_t i = 0; i < rank; ++i) {
    shape.push_back(in.varint());
    size *= shape.back();
    if (i >= 2) taps *= shape.back();
  }
  if (size == 0) return;
  const std::uint64_t rows = rank < 2 ? 1 : (taps <= 64 ? shape[0] : size / shape.back());
  if (method < 2) {
    in.varint();
    if (method == 1) in.byte();
    return;  // the packed bytes are the rest
  }
  std::uint64_t each = 1, blocks = 1;  // rows and blocks of a part
  if (method == 4) {
    const std::uint64_t flags = in.byte();
    each = (flags & 2) != 0 ? in.varint() : rows;
    in.varint();
    in.varint();
    parse_model(in);
    if ((flags & 4) == 0) {
      const ModelFacts facts = parse_model(in);
      const std::uint64_t split = facts.table ? in.byte() >> 4 : 0;
      const bool raw = facts.table ? facts.symbols > (1U << split) : facts.shift > 0;
      blocks = 2 + ((flags & 8) != 0 ? 1U : 0U) + (raw ? 1U : 0U);
    }
  } else {
    const ModelFacts facts = parse_model(in);
    const std::uint64_t flags = in.byte();
    each = (flags & 8) != 0 ? in.varint() : rows;
    if (facts.shift > 0) in.bytes(static_cast<std::size_t>((size * facts.shift + 7) / 8));
    blocks = (flags & 16) != 0 ? 2 : 1;
  }
  const std::uint64_t count = (rows + each - 1) / each * blocks;
  for (std::uint64_t i = 0; i + 1 < count; ++i) in.block();
}

/// A tensor section as rdquant/codec/tensor.hpp lays it out.
inline void parse_tensor(Parser& in) {
  const std::uint64_t coding = in.byte();
  in.varint();
  const std::uint64_t rank = in.varint();
  for (std::uint64_t i = 0; i < rank; ++i) in.varint();
  if (coding == 1) {
    const std::uint64_t count = in.varint();
    in.varint();
    const std::uint64_t family = in.byte();
    for (std::uint64_t i = 0; i < count; ++i) {
      if (family < 2) in.u64(), in.u64();
      if (family == 1) in.u64();
      if (family == 2) in.byte(), in.byte(), in.varint(), in.byte();
      if (family == 3) {
        for (std::uint64_t values = in.varint(); values > 0; --values) in.u32();
      }
    }
    in.block_of(parse_levels);
  } else if (coding == 2) {
    in.rest_of(parse_levels);
  } else if (coding == 0 && in.left() > 0) {
    in.rest_of([](Parser& floats) {
      const std::uint64_t method = floats.byte() >> 4;
      if (method == 0) floats.varint();
      if (method == 1) {
        floats.byte();
        floats.byte();
        floats.block_of(parse_levels);
        floats.block();
      }
      if (method == 2) {
        for (std::uint64_t patterns = floats.varint(); patterns > 0; --patterns) floats.varint();
        floats.rest_of(parse_levels);
      }
    });
  }
}

template <typename Parse>
Fields parsed(const Bytes& bytes, Parse&& parse) {
  Reader in(bytes, "fields");
  Parser parser(in);
  parse(parser);
  if (parser.left() > 0) parser.rest();
  return parser.take();
}

/// Numbers at which something happens, or `value` and its neighbours.
inline std::uint64_t boundary(std::uint64_t value, std::mt19937& random) {
  switch (random() % 8) {
    case 0:
      return value + 1;
    case 1:
      return value - 1;
    case 2:
      return value * 2;
    case 3:
      return value ^ (std::uint64_t{1} << (random() % 8));
    case 4:
      return random() % 40;
    default: {
      const std::uint64_t power = std::uint64_t{1} << (random() % 64);
      return power + random() % 3 - 1;
    }
  }
}

inline void mutate_raw(Bytes& raw, std::mt19937& random) {
  const auto at = [&] { return raw.empty() ? 0 : random() % raw.size(); };
  switch (random() % 6) {
    case 0:
      raw.resize(at());
      break;
    case 1:
      raw.push_back(static_cast<std::uint8_t>(random()));
      break;
    case 2: {  // the longest codes and the likeliest decisions
      const std::size_t from = at();
      const auto fill = static_cast<std::uint8_t>(random() % 2 != 0 ? 0 : 255);
      for (std::size_t i = from; i < raw.size(); ++i) raw[i] = fill;
      break;
    }
    default:
      if (!raw.empty()) raw[at()] ^= static_cast<std::uint8_t>(1U << (random() % 8));
  }
}

inline void collect(Fields& fields, std::vector<std::pair<Fields*, std::size_t>>& all) {
  for (std::size_t i = 0; i < fields.size(); ++i) {
    all.emplace_back(&fields, i);
    collect(fields[i].fields, all);
  }
}

/// Changes one to three fields.
inline void mutate(Fields& fields, std::mt19937& random) {
  for (std::uint32_t n = 1 + random() % 3; n > 0; --n) {
    std::vector<std::pair<Fields*, std::size_t>> all;
    collect(fields, all);
    if (all.empty()) return;
    const auto [parent, i] = all[random() % all.size()];
    Field& field = (*parent)[i];
    const std::uint32_t kind = random() % 16;
    if (kind == 0) {
      parent->erase(parent->begin() + static_cast<std::ptrdiff_t>(i));
    } else if (kind == 1) {
      const Field copy = field;
      parent->insert(parent->begin() + static_cast<std::ptrdiff_t>(i), copy);
    } else if (field.kind < Field::Kind::bytes) {
      field.value = boundary(field.value, random);
    } else if (field.kind == Field::Kind::block && kind == 2) {
      field.value = boundary(0, random);
    } else {
      mutate_raw(field.raw, random);
    }
  }
}

/// A section of a file.
struct Part {
  std::uint64_t kind = 3;
  std::string name;
  Fields fields;
};

/// A file whose table and checksums fit its sections. `wrong`: instead, one entry of the table mutates before the
/// table's checksum is taken.
inline Bytes file_of(const std::vector<Part>& parts, std::mt19937& random, bool wrong) {
  Fields table = {{Field::Kind::varint, parts.size(), {}, {}}};
  std::vector<Bytes> sections;
  for (const Part& part : parts) {
    const Bytes& bytes = sections.emplace_back(written(part.fields));
    table.push_back({Field::Kind::byte, part.kind, {}, {}});
    table.push_back({Field::Kind::block, 0, Bytes(part.name.begin(), part.name.end()), {}});
    table.push_back({Field::Kind::varint, bytes.size(), {}, {}});
    table.push_back({Field::Kind::u32, rdquant::codec::crc32(bytes), {}, {}});
  }
  if (wrong) mutate(table, random);
  const Bytes entries = written(table);
  Writer out;
  const rdquant::codec::FileWriter empty;
  const Bytes start = empty.head();
  out.append(std::span(start).first(12));  // magic and version
  out.u32(static_cast<std::uint32_t>(entries.size()));
  out.u32(rdquant::codec::crc32(entries));
  out.append(entries);
  for (const Bytes& bytes : sections) out.append(bytes);
  return out.take();
}

}  // namespace format_tree
