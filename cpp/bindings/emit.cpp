#include "rdquant/emit/emit.hpp"

#include <pybind11/stl.h>

#include <map>

#include "bindings.hpp"

namespace py = pybind11;

namespace rdquant::bindings {
namespace {

py::list ports_of(const std::vector<emit::Port>& ports) {
  py::list rows;
  for (const emit::Port& port : ports) {
    py::dict row;
    row["name"] = port.name;
    row["dtype"] = std::string(core::dtype_name(port.dtype));
    row["shape"] = port.shape;
    row["levels"] = port.levels;
    row["scale"] = port.scale;
    row["zero"] = port.zero;
    row["bytes"] = port.bytes;
    rows.append(row);
  }
  return rows;
}

py::list layers_of(const std::vector<emit::Layer>& layers) {
  py::list rows;
  for (const emit::Layer& layer : layers) {
    py::dict row;
    row["node"] = layer.node;
    row["kernel"] = layer.kernel;
    row["macs"] = layer.macs;
    row["outputs"] = layer.outputs;
    row["constants"] = layer.constants;
    row["decoded"] = layer.decoded;
    row["live"] = layer.live;
    rows.append(row);
  }
  return rows;
}

}  // namespace

void bind_emit(py::module_ m) {
  m.doc() = "C source of quantized networks for microcontrollers.";
  m.def(
      "emit",
      [](const graph::Graph& graph, const std::map<std::string, core::Shape>& shapes, const std::string& name,
         bool caller, bool coded, std::int64_t room) {
        emit::Firmware made;
        {
          const py::gil_scoped_release release;
          made = emit::emit(program::lower(graph, shapes),
                            {name, caller ? emit::Ports::caller : emit::Ports::arena, coded, room});
        }
        py::dict found;
        found["source"] = made.source;
        found["header"] = made.header;
        found["host"] = made.host;
        found["main"] = made.main;
        found["kernels"] = made.kernels;
        found["inputs"] = ports_of(made.inputs);
        found["outputs"] = ports_of(made.outputs);
        found["layers"] = layers_of(made.layers);
        found["constants"] = made.constants;
        found["arena"] = made.arena;
        found["taps"] = made.taps;
        return found;
      },
      py::arg("graph"), py::arg("shapes"), py::arg("name") = "model", py::arg("caller") = false,
      py::arg("coded") = false, py::arg("room") = 0,
      "The graph lowered for these input shapes, as C source with its costs.");
}

}  // namespace rdquant::bindings
