#include <algorithm>

#include "program/evaluate/steps.hpp"
#include "program/evaluate/walk.hpp"

namespace rdquant::program::plain {
namespace {

/// Calls slice(values) for each line of a float tensor along `axis`; what it leaves in them is stored.
template <typename Slice>
void along(const TensorView& x, const MutableTensorView& y, std::int64_t axis, int threads,
           const Slice& slice) {
  const Around around(x.shape, axis);
  std::vector<double> values = numbers(x);
  if (values.empty()) return;
  share_lines(around.outer * around.inner, around.size, threads, [&](std::int64_t begin, std::int64_t end) {
    std::vector<double> line(static_cast<std::size_t>(around.size));
    for (std::int64_t s = begin; s < end; ++s) {
      double* base =
          &values[static_cast<std::size_t>(s / around.inner * around.size * around.inner + s % around.inner)];
      for (std::size_t i = 0; i < line.size(); ++i)
        line[i] = base[static_cast<std::int64_t>(i) * around.inner];
      slice(line);
      for (std::size_t i = 0; i < line.size(); ++i)
        base[static_cast<std::int64_t>(i) * around.inner] = line[i];
    }
  });
  store(values.data(), y, 0, static_cast<std::int64_t>(values.size()));
}

struct Moments {
  double mean = 0, variance = 0;
};

Moments moments(std::span<const double> values) {
  Moments m;
  const auto n = static_cast<double>(values.size());
  for (const double v : values) m.mean += v / n;
  for (const double v : values) m.variance += (v - m.mean) * (v - m.mean) / n;
  return m;
}

}  // namespace

void compute(const Softmax& step, Inputs inputs, Outputs outputs, int threads) {
  require_float("softmax", inputs[0]);
  along(inputs[0], outputs[0], step.axis, threads, [&](std::vector<double>& line) {
    const double most = *std::ranges::max_element(line);
    double sum = 0;
    for (double& v : line) sum += std::exp(v -= most);
    for (double& v : line) v = step.logarithm ? v - std::log(sum) : std::exp(v) / sum;
  });
}

void compute(const LpNormalization& step, Inputs inputs, Outputs outputs, int threads) {
  require_float("lp normalization", inputs[0]);
  along(inputs[0], outputs[0], step.axis, threads, [&](std::vector<double>& line) {
    double sum = 0;
    for (const double v : line) sum += step.p == 1 ? std::abs(v) : v * v;
    const double norm = step.p == 1 ? sum : std::sqrt(sum);
    for (double& v : line) v = norm == 0 ? 0 : v / norm;
  });
}

void compute(const LayerNormalization& step, Inputs inputs, Outputs outputs, int threads) {
  const TensorView &x = inputs[0], scale = at(inputs, 1), bias = at(inputs, 2);
  const MutableTensorView &y = outputs[0], mean = at(outputs, 1), deviation = at(outputs, 2);
  require_float("layer normalization", x);
  const std::int64_t rows = product(x.shape, 0, static_cast<std::size_t>(step.axis));
  std::vector<double> values = numbers(x);
  if (values.empty()) return;
  const std::size_t size = values.size() / static_cast<std::size_t>(rows);
  const auto normalise = [&](std::int64_t r) {
    const std::span<double> row = std::span(values).subspan(static_cast<std::size_t>(r) * size, size);
    Moments m = moments(row);
    if (step.root_mean_square) m = {0, m.variance + m.mean * m.mean};
    const double inverse = 1 / std::sqrt(m.variance + static_cast<double>(step.epsilon));
    for (double& v : row) v = (v - m.mean) * inverse;
    if (present(mean)) store(&m.mean, mean, r, 1);
    if (present(deviation)) store(&inverse, deviation, r, 1);
  };
  share_lines(rows, static_cast<std::int64_t>(size), threads, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) normalise(r);
  });
  const std::vector<double> factors = numbers(scale), addends = numbers(bias);
  const auto strides = [&](const TensorView& v) { return broadcast_strides(v.shape, x.shape); };
  Walk<3>(x.shape, {dense_strides(x.shape), strides(scale), strides(bias)})
      .elements(threads, [&](const auto& offset) {
        double& v = values[static_cast<std::size_t>(offset[0])];
        if (present(scale)) v *= factors[static_cast<std::size_t>(offset[1])];
        if (present(bias)) v += addends[static_cast<std::size_t>(offset[2])];
      });
  store(values.data(), y, 0, static_cast<std::int64_t>(values.size()));
}

void compute(const BatchNormalization& step, Inputs inputs, Outputs outputs, int threads) {
  const TensorView& x = inputs[0];
  require_float("batch normalization", x);
  const std::vector<double> scale = numbers(inputs[1]), bias = numbers(inputs[2]), mean = numbers(inputs[3]),
                            variance = numbers(inputs[4]);
  const std::int64_t channels = x.shape[1], plane = product(x.shape, 2, x.shape.size());
  share_lines(x.shape[0] * channels, plane, threads, [&](std::int64_t begin, std::int64_t end) {
    std::vector<double> values(static_cast<std::size_t>(plane));
    for (std::int64_t p = begin; p < end; ++p) {
      const auto c = static_cast<std::size_t>(p % channels);
      const double factor = scale[c] / std::sqrt(variance[c] + static_cast<double>(step.epsilon));
      load(x, p * plane, plane, values.data());
      for (double& v : values) v = (v - mean[c]) * factor + bias[c];
      activate(step.activation, values.data(), plane);
      store(values.data(), outputs[0], p * plane, plane);
    }
  });
}

void compute(const GroupNormalization& step, Inputs inputs, Outputs outputs, int threads) {
  const TensorView& x = inputs[0];
  require_float("group normalization", x);
  const TensorView residual = at(inputs, 3);
  const std::vector<double> scale = numbers(inputs[1]), bias = numbers(inputs[2]);
  const std::int64_t depth = x.shape[1] / step.groups, plane = product(x.shape, 2, x.shape.size());
  if (depth * plane == 0) return;
  share_lines(x.shape[0] * step.groups, depth * plane, threads, [&](std::int64_t begin, std::int64_t end) {
    std::vector<double> values(static_cast<std::size_t>(depth * plane)), addends(values.size());
    for (std::int64_t g = begin; g < end; ++g) {
      load(x, g * depth * plane, depth * plane, values.data());
      if (present(residual)) load(residual, g * depth * plane, depth * plane, addends.data());
      const Moments m = moments(values);
      const double inverse = 1 / std::sqrt(m.variance + static_cast<double>(step.epsilon));
      for (std::int64_t i = 0; i < depth * plane; ++i) {
        const auto c = static_cast<std::size_t>(g % step.groups * depth + i / plane);
        double& v = values[static_cast<std::size_t>(i)];
        v = (v - m.mean) * inverse * scale[c] + bias[c] + addends[static_cast<std::size_t>(i)];
      }
      activate(step.activation, values.data(), depth * plane);
      store(values.data(), outputs[0], g * depth * plane, depth * plane);
    }
  });
}

void compute(const LocalResponseNormalization& step, Inputs inputs, Outputs outputs, int threads) {
  const TensorView& x = inputs[0];
  require_float("local response normalization", x);
  const std::int64_t before = (step.size - 1) / 2, after = step.size - 1 - before;
  const double alpha = static_cast<double>(step.alpha) / static_cast<double>(step.size);
  along(x, outputs[0], 1, threads, [&](std::vector<double>& line) {
    const std::vector<double> values = line;
    const auto channels = static_cast<std::int64_t>(line.size());
    for (std::int64_t c = 0; c < channels; ++c) {
      double sum = 0;
      for (std::int64_t i = std::max<std::int64_t>(0, c - before); i <= std::min(channels - 1, c + after);
           ++i) {
        sum += values[static_cast<std::size_t>(i)] * values[static_cast<std::size_t>(i)];
      }
      line[static_cast<std::size_t>(c)] /=
          std::pow(static_cast<double>(step.bias) + alpha * sum, static_cast<double>(step.beta));
    }
  });
}

}  // namespace rdquant::program::plain
