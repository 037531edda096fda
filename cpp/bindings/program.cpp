#include "rdquant/program/program.hpp"

#include <pybind11/stl.h>

#include <map>
#include <tuple>

#include "bindings.hpp"
#include "rdquant/program/memory.hpp"

namespace py = pybind11;

namespace rdquant::bindings {

void bind_program(py::module_ m) {
  m.doc() = "Graphs lowered to steps with fixed shapes.";
  m.def("operators", &program::operators, "Names of the ONNX operators that can be lowered, sorted.");
  m.def(
      "dump",
      [](const graph::Graph& graph, const std::map<std::string, core::Shape>& shapes, bool fuse) {
        return program::dump(program::lower(graph, shapes, {fuse}));
      },
      py::arg("graph"), py::arg("shapes"), py::arg("fuse") = true,
      "The lowered program as text: a line per value and step.");
  m.def(
      "rows_are_independent",
      [](const graph::Graph& graph, const std::map<std::string, core::Shape>& shapes) {
        return program::rows_are_independent(program::lower(graph, shapes));
      },
      py::arg("graph"), py::arg("shapes"), "Whether a batch may be run in pieces.");
  m.def(
      "plan_memory",
      [](const std::vector<std::tuple<std::size_t, std::int32_t, std::int32_t>>& buffers) {
        std::vector<program::Lifetime> lifetimes;
        for (const auto& [bytes, first, last] : buffers) lifetimes.push_back({bytes, first, last});
        const program::MemoryPlan plan = program::plan_memory(lifetimes);
        return std::tuple(plan.offsets, plan.bytes, program::least_memory(lifetimes));
      },
      py::arg("buffers"),
      "Offsets of (bytes, first step, last step), the arena's bytes, and the least possible.");
}

}  // namespace rdquant::bindings
