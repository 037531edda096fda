// Arithmetic on levels of 8 bits, by the rule that step.hpp states.
#include <algorithm>

#include "program/evaluate/steps.hpp"
#include "program/evaluate/walk.hpp"
#include "program/evaluate/window.hpp"
#include "rdquant/core/parallel.hpp"

namespace rdquant::program::plain {
namespace {

/// All levels as int32. @throws Unsupported  other types than u8 and i8
std::vector<std::int32_t> levels(const TensorView& view) {
  const auto count = static_cast<std::size_t>(size_of(view.shape));
  if (view.dtype == DType::u8) return {view.as<std::uint8_t>(), view.as<std::uint8_t>() + count};
  if (view.dtype == DType::i8) return {view.as<std::int8_t>(), view.as<std::int8_t>() + count};
  refuse("arithmetic on levels", view.dtype);
}

std::int32_t int8_at(const TensorView& view, std::int64_t i) {
  return view.dtype == DType::u8 ? static_cast<std::int32_t>(view.as<std::uint8_t>()[i])
                                 : static_cast<std::int32_t>(view.as<std::int8_t>()[i]);
}

std::int32_t level_of(std::uint8_t byte, DType dtype) {
  return dtype == DType::u8 ? static_cast<std::int32_t>(byte)
                            : static_cast<std::int32_t>(static_cast<std::int8_t>(byte));
}

float number_at(const TensorView& view, std::size_t i) {
  return view.as<float>()[size_of(view.shape) == 1 ? 0 : i];
}

/// clamp(round(value) + zero, low, high), ties to even; NaN gives `low`.
std::int32_t rounded(float value, std::int32_t zero, std::int32_t low, std::int32_t high) {
  const auto least = static_cast<float>(low - zero), most = static_cast<float>(high - zero);
  const float clamped = std::min(value > least ? value : least, most);
  constexpr float kShift = 1.5F * (1U << 23U);  // beside it, only whole numbers have a place
  return static_cast<std::int32_t>((clamped + kShift) - kShift) + zero;
}

float activated(const Activation& activation, float value) {
  if (activation == Activation{}) return value;
  double number = value;
  activate(activation, &number, 1);
  return static_cast<float>(number);
}

std::int32_t requantized(const Requantize& to, float value) {
  return rounded(activated(to.activation, value) * to.scale, to.zero, to.low, to.high);
}

std::int32_t combined(const Int8Binary& step, std::int32_t a, std::int32_t b) {
  const std::int32_t x = a - step.a_zero, y = b - step.b_zero;
  const float value = step.function == BinaryFunction::mul
                          ? static_cast<float>(x * y) * step.a_scale
                          : static_cast<float>(x) * step.a_scale + static_cast<float>(y) * step.b_scale;
  return rounded(value, step.zero, step.low, step.high);
}

/// What follows the sums of one convolution.
struct Int8Epilogue {
  const Int8Convolution& step;
  Inputs inputs;
  const MutableTensorView& y;

  [[nodiscard]] float value(std::int32_t sum, std::size_t k) const {
    const TensorView bias = at(inputs, 3), scale = at(inputs, 7);
    const float multiplier =
        present(scale) ? number_at(inputs[2], k) * number_at(scale, 0) : number_at(inputs[2], k);
    float v = static_cast<float>(sum) * multiplier;
    if (present(bias) && bias.dtype == DType::f32) v = v + bias.as<float>()[k];
    return v;
  }

  void apply(std::int32_t sum, std::size_t k, std::int64_t place) const {
    const float v = value(sum, k);
    if (y.dtype == DType::f32) {
      y.as<float>()[place] = as_float(v, k, place);
    } else {
      y.as<std::uint8_t>()[place] = static_cast<std::uint8_t>(as_level(v, k, place));
    }
  }

 private:
  [[nodiscard]] float active(float v, std::size_t k) const {
    const Activation& activation = step.requantize.activation;
    if (activation.function != Function::prelu) return activated(activation, v);
    return v < 0 ? number_at(at(inputs, 8), k) * v : v;
  }

  [[nodiscard]] float as_float(float v, std::size_t k, std::int64_t place) const {
    const TensorView residual = at(inputs, 4);
    const float other = present(residual) ? residual.as<float>()[place] : 0.0F;
    if (!present(residual)) return active(v, k);
    return step.residual_last ? active(v, k) + other : active(v + other, k);
  }

  [[nodiscard]] std::int32_t as_level(float v, std::size_t k, std::int64_t place) const {
    const TensorView residual = at(inputs, 4), table = at(inputs, 5);
    const Requantize& to = step.requantize;
    std::int32_t q = rounded(active(v, k) * to.scale, to.zero, to.low, to.high);
    if (present(table)) q = level_of(table.as<std::uint8_t>()[static_cast<std::uint8_t>(q)], y.dtype);
    return present(residual) ? combined(step.sum, q, int8_at(residual, place)) : q;
  }
};

/// Σ (x − x_zero) · w under one window; taps outside the image add nothing.
struct Products {
  const Spatial& s;
  const std::vector<std::int32_t>&x, &w;
  std::int64_t channels, depth, taps;
  std::int32_t zero;

  /// That of result `place` of a channel.
  [[nodiscard]] std::int64_t sum(std::int64_t image, std::int64_t group, std::int64_t k,
                                 std::int64_t place) const {
    const std::int64_t z = place / s.out[2] / s.out[1];
    std::int64_t total = 0;  // of a convolution within int32, of a large window not
    for (std::int64_t c = 0; c < depth; ++c) {
      const std::int64_t volume = (image * channels + group * depth + c) * s.in[0];
      const std::int32_t* filter = &w[static_cast<std::size_t>((k * depth + c) * taps)];
      for (std::int64_t t = 0; t < s.kernel[0]; ++t, filter += s.kernel[1] * s.kernel[2]) {
        const std::int64_t from = z * s.stride[0] - s.begin[0] + t * s.dilation[0];
        if (from >= 0 && from < s.in[0])
          total += plane((volume + from) * s.in[1] * s.in[2], filter, place / s.out[2] % s.out[1],
                         place % s.out[2]);
      }
    }
    return total;
  }

 private:
  [[nodiscard]] std::int64_t plane(std::int64_t first, const std::int32_t* filter, std::int64_t row,
                                   std::int64_t column) const {
    std::int64_t total = 0;
    for (std::int64_t i = 0; i < s.kernel[1]; ++i) {
      const std::int64_t h = row * s.stride[1] - s.begin[1] + i * s.dilation[1];
      for (std::int64_t j = 0; j < s.kernel[2]; ++j) {
        const std::int64_t v = column * s.stride[2] - s.begin[2] + j * s.dilation[2];
        if (h < 0 || h >= s.in[1] || v < 0 || v >= s.in[2]) continue;
        total += (x[static_cast<std::size_t>(first + h * s.in[2] + v)] - zero) * filter[i * s.kernel[2] + j];
      }
    }
    return total;
  }
};

}  // namespace

void compute(const Int8Convolution& step, Inputs inputs, Outputs outputs, int threads) {
  const TensorView &x = inputs[0], &w = inputs[1], bias = at(inputs, 3), zero = at(inputs, 6);
  const MutableTensorView& y = outputs[0];
  if (size_of(y.shape) == 0) return;
  const Spatial s(step.window, x.shape, y.shape);
  const std::vector<std::int32_t> from = levels(x), weights = levels(w);
  const std::int64_t filters = w.shape[0], plane = s.out[0] * s.out[1] * s.out[2];
  const Products products{s,
                          from,
                          weights,
                          x.shape[1],
                          w.shape[1],
                          s.kernel[0] * s.kernel[1] * s.kernel[2],
                          present(zero) ? int8_at(zero, 0) : step.x_zero};
  const Int8Epilogue epilogue{step, inputs, y};
  const bool whole = present(bias) && bias.dtype == DType::i32;
  const auto planes = static_cast<std::size_t>(x.shape[0] * filters);
  core::parallel_for(planes, 1, threads, [&](std::size_t begin, std::size_t end) {
    for (auto p = static_cast<std::int64_t>(begin); p < static_cast<std::int64_t>(end); ++p) {
      const std::int64_t k = p % filters, group = k / (filters / step.groups);
      const std::int32_t start = whole ? bias.as<std::int32_t>()[k] : 0;
      for (std::int64_t i = 0; i < plane; ++i) {
        const auto sum = static_cast<std::int32_t>(products.sum(p / filters, group, k, i));
        epilogue.apply(start + sum, static_cast<std::size_t>(k), p * plane + i);
      }
    }
  });
}

void compute(const Int8Binary& step, Inputs inputs, Outputs outputs, int threads) {
  const TensorView &a = inputs[0], &b = inputs[1];
  const MutableTensorView& y = outputs[0];
  const Walk<3> walk(y.shape, {dense_strides(y.shape), broadcast_strides(a.shape, y.shape),
                               broadcast_strides(b.shape, y.shape)});
  walk.elements(threads, [&](const auto& offset) {
    y.as<std::uint8_t>()[offset[0]] =
        static_cast<std::uint8_t>(combined(step, int8_at(a, offset[1]), int8_at(b, offset[2])));
  });
}

void compute(const Lookup&, Inputs inputs, Outputs outputs, int threads) {
  const auto *from = inputs[0].as<std::uint8_t>(), *table = inputs[1].as<std::uint8_t>();
  auto* to = outputs[0].as<std::uint8_t>();
  share_lines(size_of(outputs[0].shape), 1, threads, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) to[i] = table[from[i]];
  });
}

void compute(const Int8Pool& step, Inputs inputs, Outputs outputs, int threads) {
  const TensorView& x = inputs[0];
  const MutableTensorView& y = outputs[0];
  if (size_of(y.shape) == 0) return;
  const Spatial s(step.window, x.shape, y.shape);
  const std::vector<std::int32_t> from = levels(x);
  const std::int64_t taps = s.kernel[0] * s.kernel[1] * s.kernel[2];
  const std::vector<std::int32_t> ones(static_cast<std::size_t>(taps), 1);
  const std::vector<std::int32_t> all(from.size(), 1);
  const Products sums{s, from, ones, x.shape[1], 1, taps, step.x_zero};
  const Products counts{s, all, ones, x.shape[1], 1, taps, 0};
  const std::int64_t plane = s.out[0] * s.out[1] * s.out[2];
  const auto pool = [&](std::int64_t p, std::int64_t i) {
    const std::int64_t n = p / x.shape[1], c = p % x.shape[1];
    const std::int64_t sum = sums.sum(n, c, 0, i);
    const std::int64_t count = step.count_include_pad ? taps : counts.sum(n, c, 0, i);
    const float value =
        count == 0 ? 0.0F : static_cast<float>(sum) * (step.scale / static_cast<float>(count));
    if (y.dtype == DType::f32) {
      y.as<float>()[p * plane + i] = value;
    } else {
      y.as<std::uint8_t>()[p * plane + i] = static_cast<std::uint8_t>(requantized(step.requantize, value));
    }
  };
  share_lines(x.shape[0] * x.shape[1], plane, threads, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t p = begin; p < end; ++p) {
      for (std::int64_t i = 0; i < plane; ++i) pool(p, i);
    }
  });
}

}  // namespace rdquant::program::plain
