// Models from compressed files: tensors are decoded while the graph is read.
#include "model/compressed.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <utility>

#include "rdquant/codec/container.hpp"
#include "rdquant/codec/lzma.hpp"
#include "rdquant/codec/tensor.hpp"
#include "rdquant/core/error.hpp"
#include "rdquant/core/half.hpp"
#include "rdquant/core/text.hpp"

namespace rdquant::model {
namespace {

using core::DType;

constexpr std::array<std::uint8_t, 8> kMagic = {0x89, 'R', 'D', 'Q', '\r', '\n', 0x1A, '\n'};
constexpr std::size_t kAlign = 64;

/// A tensor section, and where its values go.
struct Entry {
  const codec::Section* section;
  graph::Bytes bytes;
  codec::TensorHeader header;
  DType dtype;  // of the tensor
  core::Shape shape;
  std::size_t room = 0;  // bytes that the decoder fills, in `decoded`
  DType decoded = DType::u8;
};

[[noreturn]] void corrupt(const Entry& entry, const std::string& what) {
  throw core::CorruptFile("section " + core::in_quotes(entry.section->name) + ", offset " +
                          std::to_string(entry.section->offset) + ": " + what);
}

/// What the decoder gives for a tensor, which may still have to become its own type.
void plan_room(Entry& entry) {
  const codec::TensorHeader& header = entry.header;
  const auto size = static_cast<std::size_t>(header.size);  // at most 2^40
  switch (header.coding) {
    case codec::Coding::raw:
      entry.decoded = entry.dtype;
      entry.room = header.payload.size();
      break;
    case codec::Coding::integers:
      entry.decoded = DType::i32;
      entry.room = size * 4;
      break;
    case codec::Coding::quantized:
      static_cast<void>(codec::float_type_of(header, entry.section->name));
      entry.decoded = DType::f32;
      entry.room = size * 4;
      break;
    case codec::Coding::floats:
      entry.decoded = entry.dtype;
      entry.room = size * codec::float_bytes(codec::float_type_of(header, entry.section->name));
      break;
  }
  const bool same = entry.decoded == entry.dtype;
  if (same && entry.room != size * core::size_of(entry.dtype)) {
    corrupt(entry,
            std::to_string(entry.room) + " bytes do not fit the shape " + core::shape_text(entry.shape));
  }
}

std::vector<Entry> entries_of(const std::vector<codec::Section>& sections, graph::Bytes file,
                              std::uint64_t memory_limit) {
  std::vector<Entry> entries;
  std::uint64_t needed = 0;
  for (const codec::Section& section : sections) {
    if (section.kind != static_cast<std::uint8_t>(codec::SectionKind::tensor)) continue;
    const graph::Bytes bytes = codec::unchecked_bytes(file, section);
    Entry entry = {&section, bytes, codec::tensor_header(bytes, section.name), {}, {}};
    const codec::TensorHeader& header = entry.header;
    const std::uint64_t size = header.coding == codec::Coding::raw ? bytes.size() : 8 * header.size;
    if (size > memory_limit - needed) {
      throw core::Unsupported("tensor " + core::in_quotes(section.name) + ": with it " +
                              std::to_string(needed + size) + " bytes when decoded, memory_limit allows " +
                              std::to_string(memory_limit));
    }
    needed += size;
    entry.dtype = graph::element_type(header.element_type, "section " + core::in_quotes(section.name));
    for (const std::uint64_t d : header.shape) entry.shape.push_back(static_cast<std::int64_t>(d));
    plan_room(entry);
    entries.push_back(std::move(entry));
  }
  return entries;
}

template <typename To, typename From>
core::Tensor converted(const Entry& entry, const void* decoded, To (*convert)(From)) {
  const auto count = static_cast<std::size_t>(entry.header.size);
  std::shared_ptr<void> memory = graph::aligned_block(count * sizeof(To));
  const From* const from = static_cast<const From*>(decoded);
  std::transform(from, from + count, static_cast<To*>(memory.get()), convert);
  return {entry.dtype, entry.shape, std::move(memory)};
}

template <typename To>
core::Tensor narrowed(const Entry& entry, const void* decoded) {
  return converted<To, std::int32_t>(entry, decoded, [](std::int32_t v) { return static_cast<To>(v); });
}

/// The tensor in its own type, from levels.
core::Tensor from_levels(const Entry& entry, const void* decoded) {
  switch (entry.dtype) {
    case DType::i8:
      return narrowed<std::int8_t>(entry, decoded);
    case DType::u8:
      return narrowed<std::uint8_t>(entry, decoded);
    case DType::i16:
      return narrowed<std::int16_t>(entry, decoded);
    case DType::u16:
      return narrowed<std::uint16_t>(entry, decoded);
    case DType::u32:
      return narrowed<std::uint32_t>(entry, decoded);
    case DType::i64:
      return narrowed<std::int64_t>(entry, decoded);
    case DType::boolean:
      return converted<std::uint8_t, std::int32_t>(
          entry, decoded, [](std::int32_t v) { return static_cast<std::uint8_t>(v != 0 ? 1 : 0); });
    default:
      corrupt(entry, "levels of element type " + std::string(core::dtype_name(entry.dtype)));
  }
}

/// The same from whatever was decoded, in memory of `block`.
core::Tensor finished(const Entry& entry, const std::shared_ptr<void>& block, const std::uint8_t* decoded) {
  if (entry.decoded == entry.dtype) return {entry.dtype, entry.shape, block, decoded};
  if (entry.decoded == DType::i32) return from_levels(entry, decoded);
  if (entry.dtype == DType::f16) return converted<std::uint16_t, float>(entry, decoded, core::float_to_half);
  if (entry.dtype == DType::bf16)
    return converted<std::uint16_t, float>(entry, decoded, core::float_to_bfloat);
  if (entry.dtype == DType::bf16)
    return converted<std::uint16_t, float>(entry, decoded, core::float_to_bfloat);
  if (entry.dtype == DType::f64) {
    return converted<double, float>(entry, decoded, [](float v) { return static_cast<double>(v); });
  }
  corrupt(entry, "values of element type " + std::string(core::dtype_name(entry.dtype)));
}

/// The only section of a kind. @throws CorruptFile  none, or several
const codec::Section& only(const std::vector<codec::Section>& sections, codec::SectionKind kind) {
  const auto is = [&](const codec::Section& s) { return s.kind == static_cast<std::uint8_t>(kind); };
  const auto count = std::ranges::count_if(sections, is);
  if (count != 1) {
    throw core::CorruptFile("section table, offset 0: " + std::to_string(count) + " graphs, one is needed");
  }
  return *std::ranges::find_if(sections, is);
}

std::vector<codec::Section> table_of(graph::Bytes file) {
  const std::uint64_t head =
      codec::kHeadBytes + codec::table_length(file.first(std::min(codec::kHeadBytes, file.size())));
  std::vector<codec::Section> sections =
      codec::read_table(file.first(static_cast<std::size_t>(std::min<std::uint64_t>(head, file.size()))));
  const std::uint64_t end = sections.empty() ? head : sections.back().offset + sections.back().length;
  if (file.size() > end) {
    throw core::CorruptFile("section table, offset " + std::to_string(end) + ": the file has " +
                            std::to_string(file.size() - end) + " bytes too many");
  }
  return sections;
}

class Opening {
 public:
  Opening(const graph::Source& source, std::string name, const Options& options)
      : source_(source), name_(std::move(name)), options_(options), sections_(table_of(source.bytes())) {}

  Model run() {
    std::vector<Entry> entries = entries_of(sections_, source_.bytes(), options_.memory_limit);
    graph::OnnxOptions stored;
    for (const Entry& entry : entries) {
      if (stored.stored.emplace(entry.section->name, std::pair(entry.dtype, entry.shape)).second) continue;
      corrupt(entry, "a second tensor of this name");
    }
    std::size_t size = 0;
    for (const Entry& entry : entries) size += aligned(entry.room);
    const std::shared_ptr<void> block = graph::aligned_block(size);
    auto* next = static_cast<std::uint8_t*>(block.get());
    std::vector<codec::TensorJob> jobs;
    for (const Entry& entry : entries) {
      jobs.push_back({&entry.header, {next, entry.room}, entry.bytes, entry.section});
      next += aligned(entry.room);
    }
    codec::decode_tensors(jobs, options_.threads, [&] { read_graph(stored); });
    for (std::size_t i = 0; i < entries.size(); ++i) {
      model_.graph.initializers.emplace(entries[i].section->name,
                                        finished(entries[i], block, jobs[i].to.data()));
    }
    for (const Entry& entry : entries) model_.stored.push_back(entry.section->name);
    return std::move(model_);
  }

 private:
  static std::size_t aligned(std::size_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

  void read_graph(const graph::OnnxOptions& stored) {
    const codec::Section& section = only(sections_, codec::SectionKind::graph);
    const graph::Bytes packed = codec::section_bytes(source_.bytes(), section);
    model_.skeleton = codec::unpack_lzma(packed, "graph", std::min(codec::kMostGraph, options_.memory_limit));
    // Its tensors are copied: the graph's bytes are not kept for them.
    graph::OnnxOptions options = stored;
    options.view = false;
    options.external_data = false;
    const graph::Source inner =
        graph::Source::of(model_.skeleton, nullptr, source_.name() + ": section graph");
    graph::OnnxModel onnx = graph::read_onnx(inner, name_, options);
    model_.graph = std::move(onnx.graph);
    model_.inputs = std::move(onnx.inputs);
    model_.outputs = std::move(onnx.outputs);
    model_.compressed = true;
    for (const codec::Section& s : sections_) {
      if (s.kind != static_cast<std::uint8_t>(codec::SectionKind::facts)) continue;
      const graph::Bytes facts = codec::section_bytes(source_.bytes(), s);
      model_.facts.assign(facts.begin(), facts.end());
      break;
    }
  }

  const graph::Source& source_;
  const std::string name_;
  const Options& options_;
  const std::vector<codec::Section> sections_;
  Model model_;
};

/// Errors about damage name the file.
template <typename Error>
[[noreturn]] void rethrow_named(const Error& error, const std::string& name) {
  const std::string what = error.what();
  throw Error(what.starts_with(name + ": ") ? what : name + ": " + what);
}

}  // namespace

bool is_compressed(graph::Bytes file) noexcept {
  return file.size() >= kMagic.size() && std::equal(kMagic.begin(), kMagic.end(), file.begin());
}

Model read_compressed(const graph::Source& source, const std::string& name, const Options& options) {
  try {
    return Opening(source, name, options).run();
  } catch (const core::CorruptFile& error) {
    rethrow_named(error, source.name());
  } catch (const core::Unsupported& error) {
    rethrow_named(error, source.name());
  }
}

}  // namespace rdquant::model
