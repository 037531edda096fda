#include "rdquant/graph/graph.hpp"

#include <pybind11/stl.h>

#include <optional>
#include <utility>

#include "bindings.hpp"
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

using Sizes = std::vector<std::optional<std::int64_t>>;

}  // namespace

void bind_graph(py::module_ m) {
  m.doc() = "Models for the engine, built node by node from ONNX.";
  py::class_<graph::Graph>(m, "Graph", "Nodes, attributes and tensors; arrays are viewed, not copied.")
      .def(py::init([](std::string name, int opset) {
             graph::Graph graph;
             graph.name = std::move(name);
             graph.opset = opset;
             return graph;
           }),
           py::arg("name"), py::arg("opset"))
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
