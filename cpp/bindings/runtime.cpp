#include <pybind11/stl.h>

#include <algorithm>
#include <map>
#include <utility>

#include "bindings.hpp"
#include "rdquant/runtime/session.hpp"
#include "tensors.hpp"

namespace py = pybind11;

namespace rdquant::bindings {
namespace {

using runtime::Session;

std::vector<core::Tensor> tensors_of(const std::vector<py::array>& arrays) {
  std::vector<core::Tensor> tensors;
  tensors.reserve(arrays.size());
  for (const py::array& array : arrays) tensors.push_back(tensor_of(array));
  return tensors;
}

std::vector<core::TensorView> views_of(const std::vector<core::Tensor>& tensors) {
  std::vector<core::TensorView> views;
  views.reserve(tensors.size());
  for (const core::Tensor& tensor : tensors) views.push_back(tensor.view());
  return views;
}

py::list run(Session& session, const std::vector<py::array>& arrays) {
  const std::vector<core::Tensor> inputs = tensors_of(arrays);
  std::vector<core::Tensor> outputs;
  {
    const py::gil_scoped_release unlocked;
    outputs = session.run(views_of(inputs));
  }
  py::list out;
  for (core::Tensor& output : outputs) out.append(array_of(std::move(output)));
  return out;
}

void set_weights(Session& session, const std::map<std::string, py::array>& arrays) {
  std::map<std::string, core::Tensor> tensors;
  for (const auto& [name, array] : arrays) tensors.emplace(name, tensor_of(array));
  const py::gil_scoped_release unlocked;
  session.set_weights(tensors);
}

py::dict row_of(const runtime::Plan& plan, const runtime::PlannedStep& step) {
  const auto names = [&](const std::vector<program::ValueId>& ids) {
    py::list out;
    for (const program::ValueId id : ids) {
      if (id != program::kNone) out.append(plan.names[static_cast<std::size_t>(id)]);
    }
    return out;
  };
  py::dict row;
  row["op"] = step.operation;
  row["node"] = step.node;
  row["kernel"] = step.kernel;
  row["supplier"] = std::string(step.supplier);
  row["layout"] = step.layout;
  row["inputs"] = names(step.inputs);
  row["outputs"] = names(step.outputs);
  row["macs"] = step.macs;
  row["bytes"] = step.bytes;
  return row;
}

py::dict plan(Session& session, const std::vector<core::Shape>& shapes, bool whole) {
  const runtime::Plan found = [&] {
    const py::gil_scoped_release unlocked;
    return session.plan(shapes, whole);
  }();
  py::list steps;
  for (const runtime::PlannedStep& step : found.steps) steps.append(row_of(found, step));
  py::dict out;
  out["steps"] = steps;
  out["arena_bytes"] = found.arena_bytes;
  out["weight_bytes"] = found.weight_bytes;
  out["pieces"] = found.pieces;
  return out;
}

/// Lowers, runs once and forgets: how tests compare fused with plain programs.
py::list run_once(const graph::Graph& graph, const std::string& backend, const std::vector<py::array>& arrays,
                  bool fuse) {
  const std::vector<core::Tensor> inputs = tensors_of(arrays);
  std::map<std::string, core::Shape> shapes;
  for (std::size_t i = 0; i < std::min(inputs.size(), graph.inputs.size()); ++i) {
    shapes[graph.inputs[i].name] = inputs[i].shape();
  }
  std::vector<core::Tensor> outputs;
  {
    const py::gil_scoped_release unlocked;
    const program::Program program = program::lower(graph, shapes, {fuse});
    std::vector<core::MutableTensorView> views;
    for (const program::ValueId id : program.outputs) {
      const program::Value& value = program.values[static_cast<std::size_t>(id)];
      outputs.emplace_back(value.dtype, value.shape);
    }
    for (core::Tensor& output : outputs) views.push_back(output.write());
    runtime::backend(backend).prepare(program, {})->run(views_of(inputs), views);
  }
  py::list out;
  for (core::Tensor& output : outputs) out.append(array_of(std::move(output)));
  return out;
}

std::vector<runtime::Times> profile(Session& session, const std::vector<py::array>& arrays, int runs) {
  const std::vector<core::Tensor> inputs = tensors_of(arrays);
  const py::gil_scoped_release unlocked;
  return session.profile(views_of(inputs), runs);
}

}  // namespace

void bind_runtime(py::module_ m) {
  m.doc() = "Sessions of the engine.";
  m.def(
      "backends",
      [] {
        std::map<std::string, std::string> out;
        for (const runtime::Backend* backend : runtime::backends()) {
          out[std::string(backend->name())] = backend->unavailable().value_or("");
        }
        return out;
      },
      "The backends of this build: name → why this machine cannot use it, \"\" where it can.");
  m.def("run_once", &run_once, py::arg("graph"), py::arg("backend"), py::arg("inputs"),
        py::arg("fuse") = true, "Outputs of a graph lowered for these inputs, with or without fusion.");
  py::class_<Session>(m, "Session", "A graph made ready to run; safe to use from several threads.")
      .def(
          py::init([](const graph::Graph& graph, const std::string& backend, int threads, std::size_t limit) {
            const py::gil_scoped_release unlocked;
            return std::make_unique<Session>(graph, backend, runtime::Options{threads, limit});
          }),
          py::arg("graph"), py::arg("backend"), py::arg("threads"), py::arg("memory_limit"))
      .def("run", &run, py::arg("inputs"), "Outputs for C-contiguous inputs, both in the graph's order.")
      .def("stop", &Session::stop, py::arg("stopped"),
           "While True, runs end with an error at their next piece, those of the reference at their next "
           "step.")
      .def("set_weights", &set_weights, py::arg("tensors"), "Replaces initializers by name.")
      .def("plan", &plan, py::arg("shapes"), py::arg("whole"),
           "steps (op, node, kernel, supplier, layout, inputs, outputs, macs, bytes), arena_bytes, "
           "weight_bytes, "
           "pieces.")
      .def("profile", &profile, py::arg("inputs"), py::arg("runs"),
           "Seconds per planned step of the unsplit batch, for each run.")
      .def("dump", &Session::dump, py::arg("shapes"), py::call_guard<py::gil_scoped_release>(),
           "The lowered program as text.")
      .def_property_readonly("backend", [](const Session& s) { return std::string(s.backend()); });
}

}  // namespace rdquant::bindings
