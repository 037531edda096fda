#include <pybind11/stl.h>

#include "arrays.hpp"
#include "bindings.hpp"
#include "rdquant/codec/trellis.hpp"

namespace py = pybind11;

namespace rdquant::bindings {

void bind_rdo(py::module_& m) {
  py::class_<codec::Trellis>(m, "Trellis")
      .def(py::init<int, std::uint64_t>(), py::arg("states") = 0, py::arg("chains") = 0)
      .def_readonly("states", &codec::Trellis::states)
      .def_readonly("chains", &codec::Trellis::chains);
  m.def(
      "quantize_rdo",
      [](const py::array& x, const std::vector<std::uint64_t>& shape, int states, double step, double lambda,
         int rounds, bool refine, int threads, const py::object& weights, py::array out) {
        const auto from = view<float>(x);
        const auto some = weights.is_none() ? std::span<const float>() : view<float>(py::array(weights));
        const auto to = mutable_view<std::int32_t>(out);
        const py::gil_scoped_release unlocked;
        const codec::RdoResult result = codec::quantize_rdo(from, shape,
                                                            {.states = states,
                                                             .step = step,
                                                             .lambda = lambda,
                                                             .rounds = rounds,
                                                             .refine = refine,
                                                             .threads = threads},
                                                            some);
        core::require(to.size() == result.levels.size(), "levels must have as many elements as x");
        std::copy(result.levels.begin(), result.levels.end(), to.begin());
        return std::make_tuple(result.quantizer.step, result.quantizer.delta, result.trellis);
      },
      py::arg("x"), py::arg("shape"), py::arg("states"), py::arg("step"), py::arg("lam"), py::arg("rounds"),
      py::arg("refine"), py::arg("threads"), py::arg("weights"), py::arg("out"),
      "Levels of x by rate and distortion into an int32 array; step, delta and trellis.");
  py::class_<codec::ColumnQuantizer>(m, "ColumnQuantizer")
      .def(py::init(
               [](const py::array& levels, const std::vector<std::uint64_t>& shape, int states, bool fed) {
                 return codec::ColumnQuantizer(view<std::int32_t>(levels), shape, states, fed);
               }),
           py::arg("levels"), py::arg("shape"), py::arg("states"), py::arg("fed") = false)
      .def_property_readonly("rows", &codec::ColumnQuantizer::rows)
      .def_property_readonly("columns", &codec::ColumnQuantizer::columns)
      .def_property_readonly("trellis", &codec::ColumnQuantizer::trellis)
      .def(
          "quantize",
          [](const codec::ColumnQuantizer& self, std::size_t column, const py::array& targets, double delta,
             double weight, double lambda, py::array levels) {
            const auto from = view<float>(targets);
            const auto to = mutable_view<std::int32_t>(levels);
            const py::gil_scoped_release unlocked;
            core::require(to.size() == self.rows() * self.columns(), "levels must fit the shape");
            self.quantize(column, from, delta, weight, lambda, to, self.columns(), 1);
          },
          py::arg("column"), py::arg("targets"), py::arg("delta"), py::arg("weight"), py::arg("lam"),
          py::arg("levels"), "Chooses the levels of one column.");
}

}  // namespace rdquant::bindings
