#include "rdquant/codec/container.hpp"

#include <pybind11/stl.h>

#include <array>
#include <optional>

#include "arrays.hpp"
#include "bindings.hpp"
#include "rdquant/codec/tensor.hpp"

namespace py = pybind11;

namespace rdquant::bindings {
namespace {

constexpr std::size_t kAlign = 64;  // bytes: a cache line, and enough for every vector unit

/// The sections of a file, and their names as Python's strings.
struct Table {
  std::vector<codec::Section> sections;
  std::vector<py::str> names;
  std::uint64_t end = 0;  // of the file
};

/// @throws CorruptFile  no UTF-8.
py::str name_of(const codec::Section& section) {
  PyObject* const name =
      PyUnicode_DecodeUTF8(section.name.data(), static_cast<py::ssize_t>(section.name.size()), nullptr);
  if (name == nullptr) {
    PyErr_Clear();
    throw core::CorruptFile("section table, offset 0: a name that is not UTF-8: " +
                            py::repr(py::bytes(section.name)).cast<std::string>());
  }
  return py::reinterpret_steal<py::str>(name);
}

Table read_table(const py::buffer& head) {
  const ByteView view(head);
  Table table{codec::read_table(view.bytes()), {}, view.bytes().size()};
  for (const codec::Section& section : table.sections) {
    table.names.push_back(name_of(section));
    table.end = section.offset + section.length;
  }
  return table;
}

enum Dtype : std::uint8_t { kByte, kHalf, kInt, kFloat, kDouble };  // kHalf: of any 16 bits
constexpr std::array<std::size_t, 5> kItemSize = {1, 2, 4, 4, 8};

/// What a tensor is decoded into.
struct Room {
  Dtype dtype = kByte;
  std::size_t items = 0;
  bool finished = true;  ///< false: Python knows the dtype that this is still to become
  [[nodiscard]] std::size_t bytes() const noexcept { return items * kItemSize[dtype]; }
};

/// All tensors of a file in memory: their headers have been read, their bytes are neither checked nor
/// decoded.
class Tensors {
 public:
  Tensors(const py::buffer& file, const Table& table) : view_(file) {
    entries_.reserve(table.sections.size());
    for (std::size_t i = 0; i < table.sections.size(); ++i) {
      const codec::Section& section = table.sections[i];
      if (section.kind != static_cast<std::uint8_t>(codec::SectionKind::tensor)) continue;
      const Bytes bytes = codec::unchecked_bytes(view_.bytes(), section);
      entries_.push_back({&section, table.names[i], bytes, codec::tensor_header(bytes, section.name)});
    }
  }

  /// (name, ONNX's element type, shape) of each.
  [[nodiscard]] py::list entries() const {
    py::list list;
    for (const Entry& entry : entries_) {
      list.append(py::make_tuple(entry.name, entry.tensor.element_type, entry.tensor.shape));
    }
    return list;
  }

  /// Values by name, and (name, coding, element type, type of levels) of those that Python has to finish.
  [[nodiscard]] py::tuple decode(int threads, std::uint64_t memory_limit) const {
    check_limit(memory_limit);
    std::vector<Room> rooms;
    std::size_t size = kAlign;
    for (const Entry& entry : entries_) {
      rooms.push_back(room_of(entry));
      size += aligned(rooms.back().bytes());
    }
    // Side by side: of fresh memory, large pages take a fraction of the time that many small ones take.
    const py::array_t<std::uint8_t> block(static_cast<py::ssize_t>(size));
    auto* next = const_cast<std::uint8_t*>(block.data());
    next += aligned(reinterpret_cast<std::uintptr_t>(next)) - reinterpret_cast<std::uintptr_t>(next);
    std::vector<codec::TensorJob> jobs;
    jobs.reserve(rooms.size());
    for (std::size_t i = 0; i < rooms.size(); ++i) {
      jobs.push_back({&entries_[i].tensor, {next, rooms[i].bytes()}, entries_[i].bytes, entries_[i].section});
      next += aligned(rooms[i].bytes());
    }
    py::dict values;
    py::list unfinished;
    std::optional<py::gil_scoped_release> unlocked;
    codec::decode_tensors(jobs, threads, [&] {  // other threads decode while this one makes the arrays
      name_arrays(rooms, jobs, block, values, unfinished);
      unlocked.emplace();
    });
    unlocked.reset();
    return py::make_tuple(values, unfinished);
  }

 private:
  /// Arrays of what the jobs decode, all of them in `block`.
  void name_arrays(const std::vector<Room>& rooms, const std::vector<codec::TensorJob>& jobs,
                   const py::array& block, py::dict& values, py::list& unfinished) const {
    const std::array<py::dtype, 5> dtypes = {py::dtype::of<std::uint8_t>(), py::dtype::of<std::uint16_t>(),
                                             py::dtype::of<std::int32_t>(), py::dtype::of<float>(),
                                             py::dtype::of<double>()};
    for (std::size_t i = 0; i < rooms.size(); ++i) {
      const Entry& entry = entries_[i];
      values[entry.name] = array_of(entry, dtypes[rooms[i].dtype], jobs[i].to.data(), block);
      if (rooms[i].finished) continue;
      unfinished.append(
          py::make_tuple(entry.name, entry.tensor.coding, entry.tensor.element_type, entry.tensor.levels));
    }
  }

  struct Entry {
    const codec::Section* section;  // of the table
    py::str name;
    Bytes bytes;
    codec::TensorHeader tensor;
  };

  static constexpr std::size_t aligned(std::size_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

  void check_limit(std::uint64_t limit) const {
    std::uint64_t needed = 0;  // a tensor has at most 2^40 elements
    for (const Entry& e : entries_) {
      const std::uint64_t size = e.tensor.coding == codec::Coding::raw ? e.bytes.size() : 8 * e.tensor.size;
      if (size > limit - needed) {
        throw core::Unsupported("tensor '" + e.section->name + "': with it " + std::to_string(needed + size) +
                                " bytes when decoded, memory_limit allows " + std::to_string(limit));
      }
      needed += size;
    }
  }

  static Room room_of(const Entry& entry) {
    const codec::TensorHeader& tensor = entry.tensor;
    if (tensor.coding == codec::Coding::raw) return {kByte, tensor.payload.size()};
    if (tensor.coding == codec::Coding::integers) {
      return {kInt, tensor.size, tensor.levels == codec::LevelType::i32};
    }
    const codec::FloatType type = codec::float_type_of(tensor, entry.section->name);
    if (type == codec::FloatType::f32) return {kFloat, tensor.size};
    if (tensor.coding == codec::Coding::quantized) return {kFloat, tensor.size, false};
    if (type == codec::FloatType::f64) return {kDouble, tensor.size};
    return {kHalf, tensor.size, false};
  }

  /// The array at `data`, which lies in `block`.
  static py::array array_of(const Entry& entry, const py::dtype& dtype, const std::uint8_t* data,
                            const py::array& block) {
    const codec::TensorHeader& tensor = entry.tensor;
    if (tensor.coding == codec::Coding::raw) return {dtype, {tensor.payload.size()}, data, block};
    return {dtype, std::vector<py::ssize_t>(tensor.shape.begin(), tensor.shape.end()), data, block};
  }

  ByteView view_;
  std::vector<Entry> entries_;
};

}  // namespace

void bind_container(py::module_& m) {
  py::class_<codec::Section>(m, "Section")
      .def_readonly("kind", &codec::Section::kind)
      .def_readonly("name", &codec::Section::name)
      .def_readonly("offset", &codec::Section::offset)
      .def_readonly("length", &codec::Section::length);
  py::class_<Table>(m, "Table").def_readonly("sections", &Table::sections).def_readonly("end", &Table::end);
  py::class_<Tensors>(m, "Tensors",
                      "All tensors of a file in memory (bytes, table), which are not checked yet.")
      .def(py::init<const py::buffer&, const Table&>(), py::arg("file"), py::arg("table"),
           py::keep_alive<1, 3>())
      .def("entries", &Tensors::entries, "(name, element type, shape) of each.")
      .def(
          "decode", &Tensors::decode, py::arg("threads"), py::arg("memory_limit"),
          "Checks and decodes all: values by name, and (name, coding, element type, type of levels) of those "
          "whose dtype is another one still.");
  m.attr("HEAD_BYTES") = codec::kHeadBytes;
  m.attr("VERSION") = codec::kVersion;
  m.def(
      "table_length", [](const py::buffer& head) { return codec::table_length(ByteView(head).bytes()); },
      py::arg("head"), "Bytes of the table, from the first HEAD_BYTES bytes of a file.");
  m.def("read_table", &read_table, py::arg("head"), "Sections of a file, from its head and table.");
  m.def(
      "check_section",
      [](const py::buffer& bytes, const codec::Section& section) {
        const ByteView seen(bytes);
        const py::gil_scoped_release unlocked;
        codec::check_section(seen.bytes(), section);
      },
      py::arg("bytes"), py::arg("section"), "Raises CorruptFile where the bytes' checksum differs.");
  m.def(
      "file_head",
      [](const std::vector<std::tuple<int, std::string, py::buffer>>& sections) {
        codec::FileWriter writer;
        for (const auto& [kind, name, buffer] : sections) {
          const ByteView bytes(buffer);
          writer.add(static_cast<codec::SectionKind>(kind), name,
                     {bytes.bytes().begin(), bytes.bytes().end()});
        }
        return to_bytes(writer.head());
      },
      py::arg("sections"), "Head and table of a file with sections (kind, name, bytes), which follow it.");
}

}  // namespace rdquant::bindings
