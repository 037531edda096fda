#include "graph/tensor_reader.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <new>
#include <optional>
#include <utility>

#include "rdquant/core/error.hpp"
#include "rdquant/core/text.hpp"

namespace rdquant::graph {
namespace {

using core::DType;

constexpr std::uint64_t kMostElements = std::uint64_t{1} << 60U;  // more than any memory holds
constexpr std::size_t kAlign = 64;

struct ElementType {
  std::string_view name;
  std::optional<DType> dtype = {};
};

// By TensorProto.DataType.
constexpr auto kTypes = std::to_array<ElementType>({
    {"UNDEFINED"},
    {"FLOAT", DType::f32},
    {"UINT8", DType::u8},
    {"INT8", DType::i8},
    {"UINT16", DType::u16},
    {"INT16", DType::i16},
    {"INT32", DType::i32},
    {"INT64", DType::i64},
    {"STRING"},
    {"BOOL", DType::boolean},
    {"FLOAT16", DType::f16},
    {"DOUBLE", DType::f64},
    {"UINT32", DType::u32},
    {"UINT64", DType::u64},
    {"COMPLEX64"},
    {"COMPLEX128"},
    {"BFLOAT16", DType::bf16},
    {"FLOAT8E4M3FN"},
    {"FLOAT8E4M3FNUZ"},
    {"FLOAT8E5M2"},
    {"FLOAT8E5M2FNUZ"},
    {"UINT4"},
    {"INT4"},
    {"FLOAT4E2M1"},
    {"FLOAT8E8M0"},
    {"UINT2"},
    {"INT2"},
});

// Fields of TensorProto that hold values.
enum : std::uint32_t { kFloats = 4, kInt32s = 5, kInt64s = 7, kRaw = 9, kDoubles = 10, kUint64s = 11 };

const char* field_name(std::uint32_t number) {
  switch (number) {
    case kFloats:
      return "float_data";
    case kInt32s:
      return "int32_data";
    case kInt64s:
      return "int64_data";
    case kRaw:
      return "raw_data";
    case kDoubles:
      return "double_data";
    default:
      return "uint64_data";
  }
}

/// The field that values of a type belong to, where they are not in raw_data.
std::uint32_t field_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return kFloats;
    case DType::f64:
      return kDoubles;
    case DType::i64:
      return kInt64s;
    case DType::u32:
    case DType::u64:
      return kUint64s;
    default:
      return kInt32s;
  }
}

/// Appends the low bytes of `value` where it fits `dtype`.
bool append(std::vector<std::uint8_t>& out, DType dtype, std::uint64_t value) {
  const auto low = static_cast<std::int64_t>(static_cast<std::int32_t>(static_cast<std::uint32_t>(value)));
  const auto within = [&](std::int64_t least, std::int64_t most) { return low >= least && low <= most; };
  bool fits = true;
  switch (dtype) {
    case DType::i8:
      fits = within(-128, 127);
      break;
    case DType::u8:
      fits = within(0, 255);
      break;
    case DType::i16:
      fits = within(-32768, 32767);
      break;
    case DType::u16:
    case DType::f16:
    case DType::bf16:
      fits = within(0, 65535);
      break;
    case DType::boolean:
      fits = within(0, 1);
      break;
    case DType::u32:
      fits = value <= std::numeric_limits<std::uint32_t>::max();
      break;
    default:
      break;
  }
  for (std::size_t i = 0; i < core::size_of(dtype); ++i) {
    out.push_back(static_cast<std::uint8_t>(value >> (8 * i)));
  }
  return fits;
}

std::string subject(const Source& source, const std::string& name, const std::string& owner) {
  if (name.empty() && !owner.empty()) return source.name() + ": " + owner;
  return source.name() + ": tensor " + core::in_quotes(name);
}

}  // namespace

struct TensorReader::Proto {
  std::string name;
  core::Shape dims;
  std::int64_t type = 0, location = 0;
  External::Entries external;
  std::uint32_t number = 0;        // of the field that holds the values; 0: none has been met
  std::vector<Field> values = {};  // all of that field
  bool mixed = false;              // there are values in several fields
};

std::string element_type_name(std::int64_t type) {
  if (type < 0 || type >= std::ssize(kTypes)) return std::to_string(type);
  return std::string(kTypes[static_cast<std::size_t>(type)].name);
}

core::DType element_type(std::int64_t type, const std::string& what) {
  if (type <= 0 || type >= std::ssize(kTypes)) {
    throw core::CorruptFile(what + " has element type " + std::to_string(type) +
                            ", which ONNX does not define");
  }
  const ElementType& found = kTypes[static_cast<std::size_t>(type)];
  if (!found.dtype) {
    throw core::Unsupported(what + " has element type " + std::string(found.name) +
                            ", which is not supported");
  }
  return *found.dtype;
}

TensorReader::Proto TensorReader::parse(Bytes bytes) const {
  Proto proto;
  Message fields(source_, bytes, "tensor");
  for (Field field; fields.next(field);) {
    switch (field.number) {
      case 1:
        fields.integers(field, "dims", proto.dims);
        break;
      case 2:
        fields.once(field, "data_type");
        proto.type = fields.integer(field, "data_type");
        break;
      case 3:
        fields.fail(field, "segment", "is obsolete and not supported");
      case kFloats:
      case kInt32s:
      case kInt64s:
      case kRaw:
      case kDoubles:
      case kUint64s:
        proto.mixed = proto.mixed || (proto.number != 0 && proto.number != field.number);
        proto.number = field.number;
        if (field.number == kRaw) fields.once(field, "raw_data");
        proto.values.push_back(field);
        break;
      case 8:
        fields.once(field, "name");
        proto.name = fields.text(field, "name");
        break;
      case 13: {
        Message pair(source_, fields.message(field, "external_data"), "external_data entry");
        auto& entry = proto.external.emplace_back();
        for (Field part; pair.next(part);) {
          if (part.number == 1) entry.first = pair.text(part, "key");
          if (part.number == 2) entry.second = pair.text(part, "value");
        }
        break;
      }
      case 14:
        fields.once(field, "data_location");
        proto.location = fields.integer(field, "data_location");
        break;
      default:
        break;
    }
  }
  return proto;
}

TensorReader::Named TensorReader::read(Bytes message, const std::string& owner) {
  Proto proto = parse(message);
  const std::string where = subject(source_, proto.name, owner);
  const DType dtype = element_type(proto.type, where);
  const std::string shape = core::shape_text(proto.dims);
  std::uint64_t elements = 1, nonzero = 1;  // without the zeros, which hide how large other sizes are
  for (const std::int64_t size : proto.dims) {
    if (size < 0) {
      throw core::CorruptFile(where + ": field dims is " + shape + "; no size may be negative");
    }
    const auto unsigned_size = static_cast<std::uint64_t>(size);
    elements *= unsigned_size;
    if (size != 0 && nonzero > kMostElements / unsigned_size) {
      throw core::CorruptFile(where + ": field dims is " + shape + "; that is more than any memory holds");
    }
    nonzero *= std::max<std::uint64_t>(unsigned_size, 1);
  }
  if (proto.location < 0 || proto.location > 1) {
    throw core::CorruptFile(where + ": field data_location is " + std::to_string(proto.location) +
                            "; 0 (inside) and 1 (external data) are defined");
  }
  if (proto.mixed || (proto.location == 1 && proto.number != 0)) {
    throw core::CorruptFile(where + " has its values in more than one place");
  }
  core::Tensor tensor = proto.location == 1 ? outside(proto, dtype, elements * core::size_of(dtype), where)
                                            : inside(proto, dtype, elements, where);
  return {std::move(proto.name), std::move(tensor)};
}

core::Tensor TensorReader::inside(const Proto& proto, DType dtype, std::uint64_t count,
                                  const std::string& where) {
  const std::uint64_t need = count * core::size_of(dtype);
  const auto refuse = [&](std::uint64_t found, const char* unit) {
    throw core::CorruptFile(
        where + ": shape " + core::shape_text(proto.dims) + " of " + element_type_name(proto.type) +
        " needs " + std::to_string(unit[0] == 'b' ? need : count) + " " + unit + ", " +
        (proto.number == 0 ? "raw_data" : field_name(proto.number)) + " has " + std::to_string(found));
  };
  if (proto.number != 0 && proto.number != kRaw && proto.number != field_of(dtype)) {
    throw core::CorruptFile(where + ": values of " + element_type_name(proto.type) + " cannot be in field " +
                            field_name(proto.number));
  }
  const bool fixed = proto.number == kFloats || proto.number == kDoubles;
  const bool packed = proto.values.size() == 1 && proto.values[0].wire == Wire::length;
  if (proto.number == kRaw && !packed) throw core::CorruptFile(where + ": field raw_data holds no bytes");
  if (proto.number == kRaw || (fixed && packed)) {
    const Bytes bytes = proto.values[0].bytes;
    if (bytes.size() != need) refuse(bytes.size(), "bytes");
    core::Tensor tensor = dense(bytes, dtype, proto.dims, source_.owner());
    if (bytes.size() >= kBigTensor) payloads_.push_back({source_.offset_of(bytes.data()), tensor});
    return tensor;
  }
  const std::vector<std::uint8_t> values = gathered(proto, dtype, where);
  if (values.size() != need) refuse(values.size() / core::size_of(dtype), "values");
  return {dtype, proto.dims, aligned_copy(values)};
}

std::vector<std::uint8_t> TensorReader::gathered(const Proto& proto, DType dtype, const std::string& where) {
  const bool fixed = proto.number == kFloats || proto.number == kDoubles;
  const std::string what = where + ": field " + field_name(proto.number);
  std::vector<std::uint8_t> values;  // grows with what the file holds, not with what it claims
  for (const Field& field : proto.values) {
    const bool known = field.wire == Wire::length ||
                       (fixed ? field.bytes.size() == core::size_of(dtype) : field.wire == Wire::varint);
    if (!known) throw core::CorruptFile(what + " has another wire type");
    if (fixed) {
      values.insert(values.end(), field.bytes.begin(), field.bytes.end());
      continue;
    }
    bool fits = field.wire == Wire::length || append(values, dtype, field.value);
    for (std::size_t at = 0; fits && at < field.bytes.size();) {
      std::uint64_t value = 0;
      fits = read_varint(field.bytes, at, value) && append(values, dtype, value);
    }
    if (!fits) throw core::CorruptFile(what + " holds data other than " + element_type_name(proto.type));
  }
  return values;
}

core::Tensor TensorReader::outside(const Proto& proto, DType dtype, std::uint64_t need,
                                   const std::string& where) {
  if (!options_.external_data) throw core::Unsupported(where + " has external data, which was not allowed");
  const External::Found found = external_.find(proto.external, need, where);
  const auto address = reinterpret_cast<std::uintptr_t>(found.bytes.data());
  if (!options_.view || address % core::size_of(dtype) != 0) External::count(found, where);
  return dense(found.bytes, dtype, proto.dims, found.file->source.owner());
}

core::Tensor TensorReader::dense(Bytes bytes, DType dtype, const core::Shape& shape,
                                 const std::shared_ptr<const void>& owner) {
  const auto address = reinterpret_cast<std::uintptr_t>(bytes.data());
  if (options_.view && !bytes.empty() && address % core::size_of(dtype) == 0) {
    return {dtype, shape, owner, bytes.data()};
  }
  return {dtype, shape, copied(bytes)};
}

/// Side by side in one block: of fresh memory, large pages take a fraction of the time that many small ones take.
std::shared_ptr<void> TensorReader::copied(Bytes bytes) {
  if (bytes.size() < kBigTensor) return aligned_copy(bytes);
  if (block_ == nullptr) {
    const std::size_t size = source_.bytes().size();
    room_ = size + size / (kBigTensor / kAlign) + kAlign;  // what lies in the source, and the gaps
    block_ = aligned_block(room_);
  }
  if (bytes.size() > room_ - used_) return aligned_copy(bytes);
  auto* const at = static_cast<std::uint8_t*>(block_.get()) + used_;
  std::memcpy(at, bytes.data(), bytes.size());
  used_ += std::min((bytes.size() + kAlign - 1) / kAlign * kAlign, room_ - used_);
  return {block_, at};
}

}  // namespace rdquant::graph
