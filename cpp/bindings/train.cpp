#include "arrays.hpp"
#include "bindings.hpp"
#include "rdquant/train/prune.hpp"

namespace py = pybind11;

namespace rdquant::bindings {
namespace {

template <typename T>
py::tuple prune(const py::array& weights, double gamma, int bits, py::array& out, int threads) {
  const auto from = view<T>(weights);
  const auto to = mutable_view<T>(out);
  train::Pruned done;
  {
    const py::gil_scoped_release unlocked;
    done = train::prune_quantize(from, gamma, bits, to, threads);
  }
  return py::make_tuple(done.threshold, done.step, done.nonzero);
}

}  // namespace

void bind_train(py::module_ m) {
  m.doc() = "What is done to weights after each step of a training (paper 002).";
  m.def(
      "prune_quantize",
      [](const py::array& weights, double gamma, int bits, py::array out, int threads) {
        const bool wide = weights.dtype().is(py::dtype::of<double>());
        return wide ? prune<double>(weights, gamma, bits, out, threads)
                    : prune<float>(weights, gamma, bits, out, threads);
      },
      py::arg("weights"), py::arg("gamma"), py::arg("bits"), py::arg("out"), py::arg("threads"),
      "Writes the compressed weights to out, which may be the same array; (threshold, step, nonzero).");
}

}  // namespace rdquant::bindings
