#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "rdquant/runtime/backend.hpp"

/// Programs written down in tests, run on the native backend and on the reference.
namespace rdquant::testing {

using program::Activation;
using program::Function;
using program::kNone;
using program::Program;
using program::Role;
using program::ValueId;

inline const runtime::Backend* native() { return &runtime::backend("native"); }

/// A Program written down step by step.
class Net {
 public:
  explicit Net(unsigned seed) : random_(seed) { program.name = "net"; }

  core::Tensor noise(core::Shape shape, float scale = 1) {
    core::Tensor tensor(core::DType::f32, std::move(shape));
    std::normal_distribution<float> normal(0, scale);
    auto* at = tensor.write().as<float>();
    for (std::int64_t i = 0; i < tensor.size(); ++i) at[i] = normal(random_);
    return tensor;
  }
  ValueId add(core::Shape shape, Role role, core::Tensor data = {}) {
    const auto id = static_cast<ValueId>(program.values.size());
    std::string name = std::to_string(id);
    program.values.push_back(
        {name.insert(0, 1, 'v'), core::DType::f32, std::move(shape), role, std::move(data)});
    if (role == Role::input) program.inputs.push_back(id);
    return id;
  }
  ValueId input(core::Shape shape) { return add(std::move(shape), Role::input); }
  ValueId constant(core::Shape shape, float scale = 1) {
    core::Tensor data = noise(shape, scale);
    return add(std::move(shape), Role::constant, std::move(data));
  }
  [[nodiscard]] const core::Shape& shape(ValueId id) const {
    return program.values[static_cast<std::size_t>(id)].shape;
  }

  ValueId step(program::Operation operation, std::vector<ValueId> inputs, core::Shape shape) {
    const ValueId out = add(std::move(shape), Role::activation);
    program.steps.push_back({std::move(operation), std::move(inputs), {out}, "node"});
    return out;
  }
  /// k filters of `size` × `size`, padded to keep the image's size at stride 1.
  ValueId convolve(ValueId x, std::int64_t k, std::int64_t size, Activation activation = {},
                   ValueId residual = kNone, bool last = false, std::int64_t stride = 1,
                   std::int64_t groups = 1) {
    const core::Shape in = shape(x);
    const std::int64_t pad = size / 2;
    const program::Window window{{size, size}, {stride, stride}, {1, 1}, {pad, pad}, {pad, pad}};
    const float scale = 1 / std::sqrt(static_cast<float>(in[1] / groups * size * size));
    const ValueId w = constant({k, in[1] / groups, size, size}, scale);
    const ValueId bias = constant({k}, 0.3F);
    const ValueId slopes = activation.function == Function::prelu ? constant({k, 1, 1}, 0.3F) : kNone;
    const auto out = [&](std::int64_t n) { return (n + 2 * pad - size) / stride + 1; };
    return step(program::Convolution{window, groups, activation, last}, {x, w, bias, residual, slopes},
                {in[0], k, out(in[2]), out(in[3])});
  }
  ValueId concat(std::vector<ValueId> parts, std::int64_t axis = 1) {
    core::Shape whole = shape(parts[0]);
    for (std::size_t i = 1; i < parts.size(); ++i)
      whole[static_cast<std::size_t>(axis)] += shape(parts[i])[static_cast<std::size_t>(axis)];
    return step(program::Concat{axis}, std::move(parts), whole);
  }
  std::vector<ValueId> split(ValueId x, const std::vector<std::int64_t>& sizes) {
    std::vector<ValueId> parts;
    for (const std::int64_t size : sizes) {
      core::Shape part = shape(x);
      part[1] = size;
      parts.push_back(add(part, Role::activation));
    }
    program.steps.push_back({program::Split{1}, {x}, parts, "split"});
    return parts;
  }
  ValueId pool(ValueId x, program::PoolFunction function, std::int64_t size, std::int64_t stride) {
    const core::Shape in = shape(x);
    const auto out = [&](std::int64_t n) { return (n - size) / stride + 1; };
    const program::Window window{{size, size}, {stride, stride}, {1, 1}, {0, 0}, {0, 0}};
    return step(program::Pool{function, window, false, {0, 0}}, {x}, {in[0], in[1], out(in[2]), out(in[3])});
  }
  ValueId unary(ValueId x, Activation activation) { return step(program::Unary{activation}, {x}, shape(x)); }
  ValueId binary(program::BinaryFunction f, ValueId a, ValueId b) {
    return step(program::Binary{f, {}}, {a, b}, shape(a));
  }

  Program program;

 private:
  std::mt19937 random_;
};

inline std::vector<core::Tensor> run(runtime::Executable& executable, const Program& program,
                                     const std::vector<core::Tensor>& inputs) {
  std::vector<core::TensorView> in;
  std::vector<core::Tensor> outputs;
  std::vector<core::MutableTensorView> out;
  for (const core::Tensor& input : inputs) in.push_back(input.view());
  for (const ValueId id : program.outputs) {
    const auto& value = program.values[static_cast<std::size_t>(id)];
    outputs.emplace_back(value.dtype, value.shape);
  }
  for (core::Tensor& output : outputs) out.push_back(output.write());
  executable.run(in, out);
  return outputs;
}

/// Largest difference as a share of the largest value of its channel (axis 1), or of all where channels have
/// fewer than eight elements, which tell no range. NaN and infinity must stand in the same places.
inline double difference(const core::Tensor& a, const core::Tensor& b) {
  const auto x = a.doubles();
  const auto y = b.doubles();
  const core::Shape& shape = a.shape();
  std::size_t channels = shape.size() < 2 ? 1 : static_cast<std::size_t>(shape[1]);
  if (x.size() < 8 * channels) channels = 1;
  const std::size_t area = channels == 1 ? std::max<std::size_t>(1, x.size())
                                         : x.size() / channels / static_cast<std::size_t>(shape[0]);
  std::vector<double> ranges(channels, 1e-6), largest(channels, 0.0);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const std::size_t channel = i / area % channels;
    if (!std::isfinite(x[i]) || !std::isfinite(y[i])) {
      if (x[i] != y[i] && !(std::isnan(x[i]) && std::isnan(y[i]))) return 1e9;
      continue;
    }
    ranges[channel] = std::max(ranges[channel], std::abs(x[i]));
    largest[channel] = std::max(largest[channel], std::abs(x[i] - y[i]));
  }
  double worst = 0;
  for (std::size_t c = 0; c < channels; ++c) worst = std::max(worst, largest[c] / ranges[c]);
  return worst;
}

constexpr double kBound = 2e-5;

/// Runs `net` on both backends, with one thread and two, twice each, and compares every output.
inline void check(Net& net, std::vector<ValueId> outputs) {
  net.program.outputs = std::move(outputs);
  std::vector<core::Tensor> inputs;
  for (const ValueId id : net.program.inputs) inputs.push_back(net.noise(net.shape(id)));
  const auto reference = runtime::backend("reference").prepare(net.program, {1, 0});
  const auto expected = run(*reference, net.program, inputs);
  for (const int threads : {1, 2}) {
    const auto ours = native()->prepare(net.program, {threads, 0});
    for (int repeat = 0; repeat < 2; ++repeat) {
      const auto got = run(*ours, net.program, inputs);
      for (std::size_t i = 0; i < got.size(); ++i) {
        CAPTURE(i);
        CAPTURE(threads);
        CHECK(difference(expected[i], got[i]) <= kBound);
      }
    }
  }
}

}  // namespace rdquant::testing
