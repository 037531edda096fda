#include <pybind11/stl.h>

#include <memory>
#include <string>
#include <utility>

#include "arrays.hpp"
#include "bindings.hpp"
#include "rdquant/calibrate/covariance.hpp"
#include "rdquant/calibrate/feedback.hpp"

namespace py = pybind11;

namespace rdquant::bindings {
namespace {

using calibrate::Covariance;
using calibrate::Feedback;

/// An array that owns the values: covariances take up to hundreds of megabytes.
template <typename Values>
py::array_t<double> shaped_array(Values values, const std::vector<std::size_t>& shape) {
  auto owner = std::make_unique<Values>(std::move(values));
  const double* const data = owner->data();
  const py::capsule base(owner.get(), [](void* held) { delete static_cast<Values*>(held); });
  owner.release();
  return py::array_t<double>(std::vector<py::ssize_t>(shape.begin(), shape.end()), data, base);
}

void bind_covariance(py::module_& m) {
  py::class_<Covariance>(m, "Covariance", "Moments of a layer's inputs, see rdquant.calibrate.")
      .def(py::init([](std::size_t channels, std::size_t groups, std::array<std::size_t, 2> kernel,
                       std::array<std::size_t, 2> strides, std::array<std::size_t, 2> dilations,
                       std::array<std::size_t, 4> pads, std::size_t positions) {
             return std::make_unique<Covariance>(
                 calibrate::Patches{channels, groups, kernel, strides, dilations, pads}, positions);
           }),
           py::arg("channels"), py::arg("groups"), py::arg("kernel"), py::arg("strides"),
           py::arg("dilations"), py::arg("pads"), py::arg("positions"))
      .def(
          "add",
          [](Covariance& self, const py::array& images, int threads) {
            const auto from = view<float>(images);
            core::require(images.ndim() == 4, "images: expected [n, channels, height, width]");
            const auto size = [&](int axis) { return static_cast<std::size_t>(images.shape(axis)); };
            const py::gil_scoped_release unlocked;
            self.add(from, size(0), size(2), size(3), threads);
          },
          py::arg("images"), py::arg("threads"))
      .def_property_readonly("images", &Covariance::images)
      .def("__repr__",
           [](const Covariance& self) {
             return "<rdquant.Covariance of " + std::to_string(self.patches().inputs()) + " inputs in " +
                    std::to_string(self.patches().groups) + " groups: " + std::to_string(self.images()) +
                    " images>";
           })
      .def("mean",
           [](const Covariance& self) {
             return shaped_array(self.mean(), {self.patches().groups, self.patches().inputs()});
           })
      .def("shrinkage", &Covariance::shrinkage, py::arg("centred"))
      .def(
          "matrix",
          [](const Covariance& self, bool centred, int threads) {
            core::Array<double> values;
            {
              const py::gil_scoped_release unlocked;
              values = self.matrix(centred, threads);
            }
            const std::size_t inputs = self.patches().inputs();
            return shaped_array(std::move(values), {self.patches().groups, inputs, inputs});
          },
          py::arg("centred"), py::arg("threads"));
}

}  // namespace

void bind_calibrate(py::module_ m) {
  m.doc() = "What calibration data show about layers, and rounding of weights that uses it.";
  bind_covariance(m);
  py::class_<Feedback>(m, "Feedback", "A factorised covariance, see rdquant.calibrate.")
      .def(py::init([](const py::array& covariance, int threads) {
             const auto from = view<double>(covariance);
             core::require(covariance.ndim() == 3, "covariance: expected [groups, inputs, inputs]");
             const auto groups = static_cast<std::size_t>(covariance.shape(0));
             const auto inputs = static_cast<std::size_t>(covariance.shape(1));
             const py::gil_scoped_release unlocked;
             return std::make_unique<Feedback>(from, groups, inputs, threads);
           }),
           py::arg("covariance"), py::arg("threads"))
      .def_property_readonly("groups", &Feedback::groups)
      .def_property_readonly("inputs", &Feedback::inputs)
      .def_property_readonly("mean_weight", &Feedback::mean_weight)
      .def(
          "round",
          [](const Feedback& self, const py::array& weights, double step, double lambda,
             const codec::LevelRates* rates, std::size_t row_stride, std::size_t column_stride,
             py::array levels, int threads, std::int32_t largest, const Feedback* outputs) {
            const auto from = view<float>(weights);
            const auto to = mutable_view<std::int32_t>(levels);
            core::require(rates == nullptr || rates->size() == from.size(), "rates: of another tensor");
            const py::gil_scoped_release unlocked;
            if (rates == nullptr) {
              return round_with_feedback(self, from, step, calibrate::NearestRounder(step, largest), to,
                                         threads, outputs);
            }
            const calibrate::RateRounder rounder(step, lambda, self.mean_weight(), *rates, row_stride,
                                                 column_stride);
            return round_with_feedback(self, from, step, rounder, to, threads, outputs);
          },
          py::arg("weights"), py::arg("step"), py::arg("lambda_"), py::arg("rates").none(true),
          py::arg("row_stride"), py::arg("column_stride"), py::arg("levels"), py::arg("threads"),
          py::arg("largest") = 1'000'000'000, py::arg("outputs").none(true) = nullptr,
          "Writes levels [rows, inputs] and returns the loss.")
      .def(
          "round_on_trellis",
          [](const Feedback& self, const py::array& weights, double step, double lambda,
             const codec::ColumnQuantizer& columns, py::array levels, int threads, const Feedback* outputs) {
            const auto from = view<float>(weights);
            const auto to = mutable_view<std::int32_t>(levels);
            core::require(self.groups() == 1 && columns.columns() == self.inputs() &&
                              columns.rows() * columns.columns() == from.size(),
                          "columns: of another tensor");
            const py::gil_scoped_release unlocked;
            const calibrate::TrellisRounder rounder(step, lambda, self.mean_weight(), columns);
            return round_with_feedback(self, from, step, rounder, to, threads, outputs);
          },
          py::arg("weights"), py::arg("step"), py::arg("lambda_"), py::arg("columns"), py::arg("levels"),
          py::arg("threads"), py::arg("outputs").none(true) = nullptr,
          "The same along the paths of a trellis.");
}

}  // namespace rdquant::bindings
