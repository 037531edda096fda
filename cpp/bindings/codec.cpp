#include <pybind11/stl.h>

#include "arrays.hpp"
#include "bindings.hpp"
#include "rdquant/codec/rate.hpp"

namespace py = pybind11;

namespace rdquant::bindings {

void bind_codec(py::module_ m) {
  m.doc() = "What quantized tensors cost.";
  m.def(
      "measure",
      [](const std::vector<quant::Quantizer>& quantizers, std::size_t inner, const py::array& x,
         entropy::Counter& counter, py::object restored) {
        const auto from = view<float>(x);
        py::array out = restored.is_none() ? py::array() : restored.cast<py::array>();
        const std::span<float> to = restored.is_none() ? std::span<float>() : mutable_view<float>(out);
        const py::gil_scoped_release unlocked;
        return codec::measure(quantizers, inner, from, counter, to);
      },
      py::arg("quantizers"), py::arg("inner"), py::arg("x"), py::arg("counter"),
      py::arg("restored") = py::none(),
      "Quantizes x, counts its levels, writes the restored values if asked, returns the squared error.");
  m.def(
      "count",
      [](const std::vector<quant::Quantizer>& quantizers, std::size_t inner, const py::array& x,
         entropy::Counter& counter, int threads) {
        const auto from = view<float>(x);
        const py::gil_scoped_release unlocked;
        codec::count(quantizers, inner, from, counter, threads);
      },
      py::arg("quantizers"), py::arg("inner"), py::arg("x"), py::arg("counter"), py::arg("threads") = 1,
      "Quantizes x and counts its levels, without storing them.");
}

}  // namespace rdquant::bindings
