#include "rdquant/model/model.hpp"

#include <pybind11/stl.h>

#include <utility>

#include "arrays.hpp"
#include "bindings.hpp"
#include "tensors.hpp"

namespace py = pybind11;

namespace rdquant::bindings {
namespace {

/// A model, and what is needed to make another form of it without reading the file again.
struct Opened {
  model::Model model;
  std::vector<std::uint8_t> skeleton;
  std::uint64_t size = 0;  // of the file, in bytes
};

Opened open(const std::string& path, int threads, std::uint64_t memory_limit) {
  const py::gil_scoped_release unlocked;
  const graph::Source source = graph::Source::open(path);
  // Nothing is viewed, so that a file that changes later cannot change the model.
  const model::Options options = {
      .threads = threads, .memory_limit = memory_limit, .view = false, .external_data = false};
  Opened out;
  out.model = model::read(source, model::stem(path), options);
  out.skeleton = out.model.compressed ? std::move(out.model.skeleton) : graph::skeleton(source);
  out.size = source.bytes().size();
  return out;
}

/// (name, dtype, shape) of each: a dimension is an int, a str, or None.
py::list ports(const std::vector<graph::ValueInfo>& values) {
  py::list out;
  for (const graph::ValueInfo& value : values) {
    py::list shape;
    for (const graph::Dimension& d : value.shape) {
      if (d.size)
        shape.append(*d.size);
      else if (d.symbol.empty())
        shape.append(py::none());
      else
        shape.append(d.symbol);
    }
    out.append(py::make_tuple(value.name, core::dtype_name(value.dtype), py::tuple(shape)));
  }
  return out;
}

}  // namespace

void bind_model(py::module_ m) {
  m.doc() = "Models from files, ready for the engine.";
  py::class_<Opened>(m, "Opened", "A model from a file, and what is left of the file.")
      .def_property_readonly(
          "graph", [](Opened& o) -> graph::Graph& { return o.model.graph; },
          py::return_value_policy::reference_internal)
      .def_property_readonly("inputs", [](const Opened& o) { return ports(o.model.inputs); })
      .def_property_readonly("outputs", [](const Opened& o) { return ports(o.model.outputs); })
      .def_property_readonly("compressed", [](const Opened& o) { return o.model.compressed; })
      .def_property_readonly("facts", [](const Opened& o) { return py::bytes(o.model.facts); })
      .def_property_readonly("size", [](const Opened& o) { return o.size; })
      .def_property_readonly("skeleton", [](const Opened& o) { return to_bytes(o.skeleton); })
      .def_property_readonly("payloads",
                             [](const Opened& o) {
                               py::list out;
                               for (const graph::Payload& p : o.model.payloads) {
                                 out.append(py::make_tuple(p.offset, array_of(p.data)));
                               }
                               return out;
                             })
      .def_property_readonly("stored", [](const Opened& o) {
        py::list out;
        for (const std::string& name : o.model.stored) {
          out.append(py::make_tuple(name, array_of(o.model.graph.initializers.at(name))));
        }
        return out;
      });
  m.def("open", &open, py::arg("path"), py::arg("threads"), py::arg("memory_limit"),
        "The model in an .onnx or .rdq file (path: bytes), without external data.");
}

}  // namespace rdquant::bindings
