#include "rdquant/graph/graph.hpp"

#include <pybind11/stl.h>

#include <optional>
#include <utility>

#include "arrays.hpp"
#include "bindings.hpp"
#include "rdquant/core/error.hpp"
#include "rdquant/graph/onnx.hpp"
#include "tensors.hpp"

namespace py = pybind11;

namespace rdquant::bindings {
namespace {

graph::Attribute list_of(const py::list& values) {
  if (values.empty() || py::isinstance<py::int_>(values[0])) return values.cast<std::vector<std::int64_t>>();
  if (py::isinstance<py::float_>(values[0])) return values.cast<std::vector<float>>();
  return values.cast<std::vector<std::string>>();
}

/// int, float, str, list of one of them, or array.
graph::Attribute attribute_of(const py::handle& value) {
  if (py::isinstance<py::array>(value)) return tensor_of(value.cast<py::array>());
  if (py::isinstance<py::int_>(value)) return value.cast<std::int64_t>();
  if (py::isinstance<py::float_>(value)) return value.cast<float>();
  if (py::isinstance<py::str>(value)) return value.cast<std::string>();
  return list_of(value.cast<py::list>());
}

void add_node(graph::Graph& graph, std::string op, std::string domain, std::string name,
              std::vector<std::string> inputs, std::vector<std::string> outputs, const py::dict& attributes) {
  graph::Node node{std::move(op),     std::move(domain),  std::move(name),
                   std::move(inputs), std::move(outputs), {}};
  for (const auto& [key, value] : attributes) node.attributes[key.cast<std::string>()] = attribute_of(value);
  graph.nodes.push_back(std::move(node));
}

/// The bytes `offset`..`offset + count`. @throws CorruptFile  the source ends before
Bytes part(const graph::Source& source, std::uint64_t offset, std::uint64_t count) {
  const std::size_t size = source.bytes().size();
  if (offset > size || count > size - offset) {
    throw core::CorruptFile(source.name() + ": bytes " + std::to_string(offset) + ".." +
                            std::to_string(offset + count) + " requested, the file ends before");
  }
  return source.bytes().subspan(static_cast<std::size_t>(offset), static_cast<std::size_t>(count));
}

/// A Source of Python's bytes, which it keeps alive.
graph::Source source_of(const py::bytes& data, std::string name) {
  const std::string_view text = data;
  return graph::Source::of({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}, keep(data),
                           std::move(name));
}

void bind_source(py::module_& m) {
  py::class_<graph::Source>(m, "Source", "The bytes of a model: a file, mapped into memory, or bytes.")
      .def_static("open", &graph::Source::open, py::arg("path"), py::arg("what"),
                  "The file at `path` (bytes), which messages call `what`. Raises InvalidArgument.")
      .def_static("of", &source_of, py::arg("data"), py::arg("name"))
      .def_property_readonly("name", [](const graph::Source& s) { return s.name(); })
      .def_property_readonly("size", [](const graph::Source& s) { return s.bytes().size(); })
      .def(
          "read",
          [](const graph::Source& source, std::uint64_t offset, std::uint64_t count) {
            return to_bytes(part(source, offset, count));
          },
          py::arg("offset"), py::arg("count"))
      .def(
          "array",
          [](const graph::Source& source, std::uint64_t offset, std::uint64_t count) {
            const Bytes bytes = part(source, offset, count);
            std::shared_ptr<void> copy;
            {
              const py::gil_scoped_release unlocked;
              copy = graph::aligned_copy(bytes);
            }
            const core::Shape shape = {static_cast<std::int64_t>(count)};
            return array_of(core::Tensor(core::DType::u8, shape, std::move(copy)));
          },
          py::arg("offset"), py::arg("count"), "A copy of these bytes, aligned to 64.")
      .def(
          "skeleton",
          [](const graph::Source& source) {
            std::vector<std::uint8_t> bytes;
            {
              const py::gil_scoped_release unlocked;
              bytes = graph::skeleton(source);
            }
            return to_bytes(bytes);
          },
          "The serialised model without the bytes of its big tensors, which become external data in `SELF`.");
  m.attr("SELF") = std::string(graph::kSelf);
  m.attr("BIG_TENSOR") = graph::kBigTensor;
  m.def(
      "signatures",
      [] {
        py::list out;
        for (const graph::Signature& s : graph::signatures()) {
          out.append(py::make_tuple(s.op, s.first, s.last, s.fewest_inputs, s.most_inputs, s.most_outputs,
                                    s.attributes));
        }
        return out;
      },
      "Operators that the reader knows: name, first and last opset, fewest and most inputs, most outputs, "
      "attributes (\"!\": required).");
}

using Sizes = std::vector<std::optional<std::int64_t>>;

}  // namespace

void bind_graph(py::module_ m) {
  m.doc() = "Models for the engine, built node by node from ONNX, and the bytes that they come from.";
  bind_source(m);
  py::class_<graph::Graph>(m, "Graph", "Nodes, attributes and tensors; arrays are viewed, not copied.")
      .def(py::init([](std::string name, int opset) {
             graph::Graph graph;
             graph.name = std::move(name);
             graph.opset = opset;
             return graph;
           }),
           py::arg("name"), py::arg("opset"))
      .def_readwrite("name", &graph::Graph::name)
      .def(
          "add_node", &add_node, py::arg("op"), py::arg("domain"), py::arg("name"), py::arg("inputs"),
          py::arg("outputs"), py::arg("attributes"),
          "Appends a node whose inputs are made by earlier ones. Attributes: int, float, str, lists, arrays.")
      .def(
          "add_initializer",
          [](graph::Graph& graph, const std::string& name, const py::array& array, const std::string& dtype,
             core::Shape shape) {
            const core::DType type = dtype_of(py::dtype(dtype));
            graph.initializers.insert_or_assign(name, tensor_of(array, type, std::move(shape)));
          },
          py::arg("name"), py::arg("array"), py::arg("dtype"), py::arg("shape"),
          "Adds a tensor: the bytes of `array`, taken as `dtype` and `shape`.")
      .def(
          "add_input",
          [](graph::Graph& graph, std::string name, const std::string& dtype, Sizes shape) {
            graph.inputs.push_back({std::move(name), dtype_of(py::dtype(dtype)), std::move(shape)});
          },
          py::arg("name"), py::arg("dtype"), py::arg("shape"))
      .def(
          "add_output",
          [](graph::Graph& graph, std::string name) { graph.outputs.push_back({std::move(name), {}, {}}); },
          py::arg("name"));
}

}  // namespace rdquant::bindings
