#include <pybind11/stl.h>

#include <optional>
#include <string>
#include <tuple>
#include <vector>

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

template <typename T>
py::list prune_layers(const py::list& layers, double gamma, int bits, int threads) {
  std::vector<train::Layer<T>> all;
  all.reserve(layers.size());
  for (const py::handle& item : layers) {
    const auto [name, weights, out, pruned] =
        item.cast<std::tuple<std::string, py::array, py::array, std::optional<py::array>>>();
    py::array to = out, kept = pruned.value_or(py::array());
    all.push_back({.weights = view<T>(weights),
                   .out = mutable_view<T>(to),
                   .pruned = pruned ? mutable_view<T>(kept) : std::span<T>(),
                   .name = name + ": "});
  }
  std::vector<train::Pruned> done;
  {
    const py::gil_scoped_release unlocked;
    done = train::prune_quantize(std::span<const train::Layer<T>>(all), gamma, bits, threads);
  }
  py::list found;
  for (const train::Pruned& layer : done) {
    found.append(py::make_tuple(layer.threshold, layer.step, layer.nonzero));
  }
  return found;
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
  const auto layers = [&m](const char* name, auto function) {
    m.def(name, function, py::arg("layers"), py::arg("gamma"), py::arg("bits"), py::arg("threads"),
          "Layers as (name, weights, out, pruned or None), all of one dtype; (threshold, step, nonzero) of "
          "each.");
  };
  layers("prune_layers_f32", prune_layers<float>);
  layers("prune_layers_f64", prune_layers<double>);
}

}  // namespace rdquant::bindings
