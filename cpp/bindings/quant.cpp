#include <pybind11/stl.h>

#include "arrays.hpp"
#include "bindings.hpp"
#include "rdquant/quant/quantizer.hpp"

namespace py = pybind11;

namespace rdquant::bindings {
namespace {

using Quantizers = std::vector<quant::Quantizer>;

template <typename Q>
Q checked(Q quantizer) {
  quant::validate(quantizer);
  return quantizer;
}

void bind_quantizers(py::module_& m) {
  py::class_<quant::Uniform>(m, "Uniform")
      .def(py::init([](double step, double delta, std::int32_t limit) {
             return checked(quant::Uniform{.step = step, .delta = delta, .limit = limit});
           }),
           py::arg("step"), py::arg("delta"), py::arg("limit") = 0)
      .def_readonly("step", &quant::Uniform::step)
      .def_readonly("delta", &quant::Uniform::delta);
  py::class_<quant::MuLaw>(m, "MuLaw")
      .def(py::init([](double mu, double range, double step, std::int32_t limit) {
             return checked(quant::MuLaw{.mu = mu, .range = range, .step = step, .limit = limit});
           }),
           py::arg("mu"), py::arg("range"), py::arg("step"), py::arg("limit") = 0);
  py::class_<quant::Minifloat>(m, "Minifloat")
      .def(py::init([](int exponent, int mantissa, int bias, bool ieee) {
             return checked(
                 quant::Minifloat{.exponent = exponent, .mantissa = mantissa, .bias = bias, .ieee = ieee});
           }),
           py::arg("exponent"), py::arg("mantissa"), py::arg("bias"), py::arg("ieee"));
  py::class_<quant::Codebook>(m, "Codebook")
      .def(py::init([](std::vector<float> values) { return checked(quant::Codebook{std::move(values)}); }),
           py::arg("values"));
}

}  // namespace

void bind_quant(py::module_ m) {
  m.doc() = "Scalar quantizers of thesis 004, chapter 2.";
  bind_quantizers(m);
  m.def(
      "quantize",
      [](const Quantizers& quantizers, std::size_t inner, const py::array& x, py::array out, int threads,
         bool reused) {
        const auto from = view<float>(x);
        const auto to = mutable_view<std::int32_t>(out);
        const py::gil_scoped_release unlocked;
        quant::quantize_channels(quantizers, inner, from, to, threads, reused);
      },
      py::arg("quantizers"), py::arg("inner"), py::arg("x"), py::arg("out"), py::arg("threads"),
      py::arg("reused"),
      "Levels (int32) of x (float32), one quantizer a channel of (outer, channels, inner).");
  m.def(
      "dequantize",
      [](const Quantizers& quantizers, std::size_t inner, const py::array& levels, py::array out,
         int threads) {
        const auto from = view<std::int32_t>(levels);
        const auto to = mutable_view<float>(out);
        const py::gil_scoped_release unlocked;
        quant::dequantize_channels(quantizers, inner, from, to, threads);
      },
      py::arg("quantizers"), py::arg("inner"), py::arg("levels"), py::arg("out"), py::arg("threads"),
      "Values (float32) of levels (int32).");
  m.def(
      "lloyd_max",
      [](const py::array& x, int count, int rounds) {
        const auto from = view<float>(x);
        const py::gil_scoped_release unlocked;
        return quant::lloyd_max(from, count, rounds).values;
      },
      py::arg("x"), py::arg("count"), py::arg("rounds") = 200, "Values of the Lloyd–Max codebook of x.");
  m.def(
      "best_bias",
      [](const py::array& x, int exponent, int mantissa) {
        const auto from = view<float>(x);
        const py::gil_scoped_release unlocked;
        return quant::best_bias(from, exponent, mantissa);
      },
      py::arg("x"), py::arg("exponent"), py::arg("mantissa"),
      "Minifloat bias with the least squared error on x.");
}

}  // namespace rdquant::bindings
