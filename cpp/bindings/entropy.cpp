#include <pybind11/stl.h>

#include "arrays.hpp"
#include "bindings.hpp"
#include "rdquant/entropy/counts.hpp"

namespace py = pybind11;

namespace rdquant::bindings {
void bind_entropy(py::module_ m) {
  m.doc() = "Counts of integer symbols and their entropies, in bits per symbol.";
  py::class_<entropy::Counts>(m, "Counts")
      .def_property_readonly("values", [](const entropy::Counts& c) { return to_array(c.values); })
      .def_property_readonly("counts", [](const entropy::Counts& c) { return to_array(c.counts); })
      .def_property_readonly("distinct", [](const entropy::Counts& c) { return c.values.size(); })
      .def_property_readonly("total", &entropy::Counts::total)
      .def_property_readonly("entropy", &entropy::Counts::entropy)
      .def_property_readonly("table_bits", &entropy::Counts::table_bits);
  py::class_<entropy::Counter>(m, "Counter")
      .def(py::init<std::uint64_t>(), py::arg("expected") = 0)
      .def(
          "add",
          [](entropy::Counter& counter, const py::array& symbols, int threads) {
            const auto from = view<std::int32_t>(symbols);
            const py::gil_scoped_release unlocked;
            counter.add(from, threads);
          },
          py::arg("symbols"), py::arg("threads") = 1)
      .def("merge", &entropy::Counter::merge, py::arg("other"), py::call_guard<py::gil_scoped_release>())
      .def("finish", &entropy::Counter::finish, py::call_guard<py::gil_scoped_release>());
  m.def(
      "conditional_entropy",
      [](const py::array& symbols, std::size_t outer, std::size_t length, std::size_t inner) {
        const auto from = view<std::int32_t>(symbols);
        const py::gil_scoped_release unlocked;
        return entropy::conditional_entropy(from, outer, length, inner);
      },
      py::arg("symbols"), py::arg("outer"), py::arg("length"), py::arg("inner"),
      "H(symbol | its predecessor along the middle axis), bits per symbol.");
}

}  // namespace rdquant::bindings
