#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <string>

#include "arrays.hpp"
#include "bindings.hpp"
#include "rdquant/stats/dependence.hpp"
#include "rdquant/stats/fit.hpp"

namespace py = pybind11;

namespace rdquant::bindings {
namespace {

using namespace py::literals;

bool is_double(const py::array& array) { return array.dtype().is(py::dtype::of<double>()); }

stats::Values to_values(const std::vector<std::pair<std::string, py::array>>& named) {
  stats::Values values;
  for (const auto& [name, array] : named) {
    if (is_double(array)) {
      values.push_back({name, view<double>(array)});
    } else {
      values.push_back({name, view<float>(array)});
    }
  }
  return values;
}

stats::Parameters to_parameters(stats::Family family, const py::dict& parameters) {
  const std::string_view shape = stats::info(family).shape;
  stats::Parameters p;
  for (const auto& [key, value] : parameters) {
    const std::string name = py::cast<std::string>(key);
    if (name == "loc") {
      p.loc = py::cast<double>(value);
    } else if (name == "scale") {
      p.scale = py::cast<double>(value);
    } else if (!shape.empty() && name == shape) {
      p.shape = py::cast<double>(value);
    } else {
      throw core::InvalidArgument("parameter '" + name + "' of " + std::string(stats::info(family).name) +
                                  ": expected " + (shape.empty() ? "" : std::string(shape) + ", ") +
                                  "loc, scale");
    }
  }
  return p;
}

py::dict from_parameters(stats::Family family, const stats::Parameters& p) {
  py::dict result;
  const std::string_view shape = stats::info(family).shape;
  if (!shape.empty()) result[py::str(std::string(shape))] = p.shape;
  result["loc"] = p.loc;
  result["scale"] = p.scale;
  return result;
}

constexpr std::array<const char*, 4> kCriteria = {"mle", "kl", "kl_reverse", "sse"};
constexpr std::array<const char*, 4> kFunctions = {"pdf", "logpdf", "cdf", "quantile"};

template <typename Enum, std::size_t N>
Enum named(const std::array<const char*, N>& names, const std::string& what, const std::string& name) {
  std::string known;
  for (std::size_t i = 0; i < N; ++i) {
    if (name == names[i]) return static_cast<Enum>(i);
    known += (i == 0 ? "" : ", ") + std::string(names[i]);
  }
  throw core::InvalidArgument(what + " '" + name + "': expected one of " + known);
}

py::dict fit(const std::vector<std::pair<std::string, py::array>>& named_values,
             const std::vector<std::string>& families, const std::vector<std::string>& criteria, int bins,
             const std::optional<std::pair<double, double>>& range, int threads) {
  stats::FitOptions options{.families = {}, .criteria = {}, .bins = bins, .range = {}, .threads = threads};
  for (const std::string& name : families) options.families.push_back(stats::family_of(name));
  for (const std::string& name : criteria) {
    options.criteria.push_back(named<stats::Criterion>(kCriteria, "criterion", name));
  }
  if (range) options.range = stats::Range{range->first, range->second};
  const stats::Values values = to_values(named_values);
  const stats::FitResult result = [&] {
    const py::gil_scoped_release release;
    return stats::fit(values, options);
  }();
  py::list rows;
  for (const stats::Fit& f : result.fits) {
    rows.append(py::dict(
        "family"_a = std::string(stats::info(f.family).name),
        "parameters"_a = from_parameters(f.family, f.parameters), "kl"_a = f.kl, "sse"_a = f.sse,
        "kl_reverse"_a = f.kl_reverse, "loglik"_a = f.loglik, "aic"_a = f.aic, "bic"_a = f.bic, "ks"_a = f.ks,
        "criterion"_a = kCriteria[static_cast<std::size_t>(f.criterion)], "degenerate"_a = f.degenerate));
  }
  return py::dict("moments"_a = result.moments, "histogram"_a = result.histogram, "fits"_a = rows);
}

py::array_t<double> evaluate(const std::string& family_name, const py::dict& parameters,
                             const std::string& function, const py::array& x) {
  const stats::Family family = stats::family_of(family_name);
  const stats::Parameters p = to_parameters(family, parameters);
  const auto what = named<stats::Function>(kFunctions, "function", function);
  const std::span<const double> in = view<double>(x);
  py::array_t<double> result = empty_like<double>(x);
  const std::span<double> out = mutable_view<double>(result);
  const py::gil_scoped_release release;
  stats::evaluate(family, p, what, in, out);
  return result;
}

template <typename Body>
auto along(const py::array& values, const Body& body) {
  if (is_double(values)) {
    const std::span<const double> data = view<double>(values);
    const py::gil_scoped_release release;
    return body(data);
  }
  const std::span<const float> data = view<float>(values);
  const py::gil_scoped_release release;
  return body(data);
}

void bind_moments(py::module_& m) {
  py::class_<stats::Moments>(
      m, "Moments",
      "Of values: count, zeros, min, max, mean, variance (of the population), std, skewness, "
      "kurtosis (excess), mean_abs, in the values' unit and its powers. a.merge(b) makes a the "
      "moments of all values of both. Averages over no values are NaN.")
      .def(py::init<>())
      .def("merge", &stats::Moments::merge)
      .def_readonly("count", &stats::Moments::count)
      .def_readonly("zeros", &stats::Moments::zeros)
      .def_readonly("min", &stats::Moments::min)
      .def_readonly("max", &stats::Moments::max)
      .def("__repr__",
           [](const stats::Moments& self) {
             return py::str("Moments(count={}, mean={:.6g}, std={:.6g}, min={:.6g}, max={:.6g}, zeros={})")
                 .format(self.count, self.average(), self.std(), self.min, self.max, self.zeros);
           })
      .def_property_readonly("mean", &stats::Moments::average)
      .def_property_readonly("variance", &stats::Moments::variance)
      .def_property_readonly("std", &stats::Moments::std)
      .def_property_readonly("skewness", &stats::Moments::skewness)
      .def_property_readonly("kurtosis", &stats::Moments::excess_kurtosis)
      .def_property_readonly("mean_abs", &stats::Moments::mean_abs);
  m.def(
      "moments",
      [](const std::vector<std::pair<std::string, py::array>>& named_values, int threads) {
        const stats::Values values = to_values(named_values);
        const py::gil_scoped_release release;
        return stats::moments(values, threads);
      },
      "values"_a, "threads"_a = 1);
}

void bind_histogram(py::module_& m) {
  using stats::Histogram;
  py::class_<Histogram>(m, "Histogram")
      .def(py::init<double, double, int>(), "low"_a, "high"_a, "bins"_a)
      .def(
          "add",
          [](Histogram& self, const std::vector<std::pair<std::string, py::array>>& named_values,
             int threads) {
            const stats::Values values = to_values(named_values);
            const py::gil_scoped_release release;
            self.add(values, threads);
          },
          "values"_a, "threads"_a = 1)
      .def("merge", &Histogram::merge)
      .def_property_readonly("low", &Histogram::low)
      .def_property_readonly("high", &Histogram::high)
      .def_property_readonly("bins", &Histogram::bins)
      .def_property_readonly("below", &Histogram::below)
      .def_property_readonly("above", &Histogram::above)
      .def_property_readonly("counts", [](const Histogram& h) { return to_array(h.counts()); })
      .def_property_readonly("edges", [](const Histogram& h) { return to_array(h.edges()); })
      .def_property_readonly("density", [](const Histogram& h) { return to_array(h.density()); });
}

void bind_dependence(py::module_& m) {
  using Extents = std::array<std::size_t, 3>;  // lines, values of a line, values from one to the next
  m.def(
      "autocovariance",
      [](const py::array& values, const Extents& shape, std::size_t lags) {
        const stats::Lines lines{shape[0], shape[1], shape[2]};
        return to_array(along(values, [&](auto data) { return stats::autocovariance(data, lines, lags); }));
      },
      "values"_a, "shape"_a, "lags"_a);
  m.def(
      "mutual_information",
      [](const py::array& values, const Extents& shape, int bins) {
        const stats::Lines lines{shape[0], shape[1], shape[2]};
        const auto r = along(values, [&](auto data) { return stats::mutual_information(data, lines, bins); });
        return py::make_tuple(r.bits, r.plain_bits, r.pairs, r.levels);
      },
      "values"_a, "shape"_a, "bins"_a);
}

}  // namespace

void bind_stats(py::module_ m) {
  m.doc() = "rdquant::stats";
  bind_moments(m);
  bind_histogram(m);
  bind_dependence(m);
  m.def("families", [] {
    std::vector<std::string> names;
    for (int i = 0; i < stats::kFamilies; ++i) {
      names.emplace_back(stats::info(static_cast<stats::Family>(i)).name);
    }
    return names;
  });
  m.def("fit", &fit, "values"_a, "families"_a, "criteria"_a, "bins"_a, "range"_a, "threads"_a);
  m.def("evaluate", &evaluate, "family"_a, "parameters"_a, "function"_a, "x"_a);
  m.def(
      "distances",
      [](const stats::Histogram& histogram, const std::string& family_name, const py::dict& parameters) {
        const stats::Family family = stats::family_of(family_name);
        const auto d = stats::distances(histogram, family, to_parameters(family, parameters));
        return py::make_tuple(d.kl, d.kl_reverse, d.sse);
      },
      "histogram"_a, "family"_a, "parameters"_a);
}

}  // namespace rdquant::bindings
