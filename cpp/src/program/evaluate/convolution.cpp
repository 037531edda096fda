#include <algorithm>
#include <array>

#include "program/evaluate/steps.hpp"
#include "program/evaluate/walk.hpp"
#include "program/evaluate/window.hpp"
#include "rdquant/core/parallel.hpp"

namespace rdquant::program::plain {
namespace {

/// What follows the sum of products, for one output channel at a time.
struct Epilogue {
  const Activation* activation;
  bool residual_last = false;
  std::vector<double> bias, slopes;  ///< per channel, or one slope for all; may be empty
  TensorView residual;
  MutableTensorView y;

  /// Applies the epilogue to `count` sums of channel `channel` and stores them from element `begin`.
  void apply(double* sums, std::int64_t channel, std::int64_t begin, std::int64_t count) const {
    const auto k = static_cast<std::size_t>(channel);
    if (!bias.empty()) {
      for (std::int64_t i = 0; i < count; ++i) sums[i] += bias[k];
    }
    if (!residual_last) add_residual(sums, begin, count);
    if (activation->function == Function::prelu) {
      const double slope = slopes[slopes.size() == 1 ? 0 : k];
      for (std::int64_t i = 0; i < count; ++i) sums[i] = sums[i] < 0 ? slope * sums[i] : sums[i];
    } else {
      activate(*activation, sums, count);
    }
    if (residual_last) add_residual(sums, begin, count);
    store(sums, y, begin, count);
  }

 private:
  void add_residual(double* sums, std::int64_t begin, std::int64_t count) const {
    if (!present(residual)) return;
    std::vector<double> add(static_cast<std::size_t>(count));
    load(residual, begin, count, add.data());
    for (std::int64_t i = 0; i < count; ++i) sums[i] += add[static_cast<std::size_t>(i)];
  }
};

constexpr std::int64_t kMostPadded = std::int64_t{1} << 27U;  // numbers

/// One image as doubles, zeros around it so that no window leaves it.
class PaddedImage {
 public:
  PaddedImage(const Spatial& s, std::int64_t channels) : s_(s) {
    for (std::size_t i = 0; i < 3; ++i) {
      size_[i] = std::max(s.begin[i] + s.in[i], (s.out[i] - 1) * s.stride[i] + s.reach(i));
    }
    const std::int64_t room = core::element_count(std::array{channels, size_[0], size_[1], size_[2]});
    const std::int64_t image = channels * s.in[0] * s.in[1] * s.in[2];
    if (room > std::max(kMostPadded, 4 * image)) {
      throw core::InvalidArgument("an image of " + std::to_string(image) + " numbers would be padded to " +
                                  std::to_string(room));
    }
    values_.resize(static_cast<std::size_t>(room), 0.0);
    channels_ = channels;
  }

  void read(const TensorView& x, std::int64_t image) {
    const std::int64_t plane = s_.in[0] * s_.in[1] * s_.in[2];
    for (std::int64_t c = 0; c < channels_; ++c) {
      for (std::int64_t d = 0; d < s_.in[0]; ++d) {
        for (std::int64_t h = 0; h < s_.in[1]; ++h) {
          double* row = &values_[static_cast<std::size_t>(offset(c, d + s_.begin[0], h + s_.begin[1]))];
          load(x, (image * channels_ + c) * plane + (d * s_.in[1] + h) * s_.in[2], s_.in[2],
               row + s_.begin[2]);
        }
      }
    }
  }
  [[nodiscard]] const double* row(std::int64_t c, std::int64_t d, std::int64_t h) const {
    return &values_[static_cast<std::size_t>(offset(c, d, h))];
  }

 private:
  [[nodiscard]] std::int64_t offset(std::int64_t c, std::int64_t d, std::int64_t h) const {
    return ((c * size_[0] + d) * size_[1] + h) * size_[2];
  }

  Spatial s_;
  std::int64_t channels_ = 0;
  std::array<std::int64_t, 3> size_{};
  std::vector<double> values_;
};

/// sums[i] += Σ over the window of w · x, for one row of outputs (d, h) and input channels from `first`.
void accumulate_row(const Spatial& s, const PaddedImage& x, std::int64_t first, std::int64_t channels,
                    const double* w, std::int64_t d, std::int64_t h, double* sums) {
  for (std::int64_t c = 0; c < channels; ++c) {
    for (std::int64_t kd = 0; kd < s.kernel[0]; ++kd) {
      for (std::int64_t kh = 0; kh < s.kernel[1]; ++kh) {
        const double* row =
            x.row(first + c, d * s.stride[0] + kd * s.dilation[0], h * s.stride[1] + kh * s.dilation[1]);
        for (std::int64_t kw = 0; kw < s.kernel[2]; ++kw) {
          const double weight = *w++;
          const double* from = row + kw * s.dilation[2];
          if (s.stride[2] == 1) {
            for (std::int64_t i = 0; i < s.out[2]; ++i) sums[i] += weight * from[i];
          } else {
            for (std::int64_t i = 0; i < s.out[2]; ++i) sums[i] += weight * from[i * s.stride[2]];
          }
        }
      }
    }
  }
}

}  // namespace

void compute(const Convolution& step, Inputs inputs, Outputs outputs, int threads) {
  const TensorView &x = inputs[0], &w = inputs[1];
  const MutableTensorView& y = outputs[0];
  require_float("convolution", x);
  if (size_of(y.shape) == 0) return;
  const Spatial s(step.window, x.shape, y.shape);
  const std::int64_t filters = y.shape[1], depth = w.shape[1], per_group = filters / step.groups;
  const std::int64_t taps = depth * s.kernel[0] * s.kernel[1] * s.kernel[2];
  const std::int64_t plane = s.out[0] * s.out[1] * s.out[2];
  const std::vector<double> weights = numbers(w);
  const Epilogue epilogue{&step.activation,       step.residual_last, numbers(at(inputs, 2)),
                          numbers(at(inputs, 4)), at(inputs, 3),      y};
  PaddedImage image(s, x.shape[1]);
  for (std::int64_t n = 0; n < x.shape[0]; ++n) {
    image.read(x, n);
    core::parallel_for(
        static_cast<std::size_t>(filters), 1, threads, [&](std::size_t begin, std::size_t end) {
          std::vector<double> sums(static_cast<std::size_t>(s.out[2]));
          for (auto k = static_cast<std::int64_t>(begin); k < static_cast<std::int64_t>(end); ++k) {
            const double* filter = &weights[static_cast<std::size_t>(k * taps)];
            for (std::int64_t row = 0; row < s.out[0] * s.out[1]; ++row) {
              std::ranges::fill(sums, 0.0);
              accumulate_row(s, image, k / per_group * depth, depth, filter, row / s.out[1], row % s.out[1],
                             sums.data());
              epilogue.apply(sums.data(), k, (n * filters + k) * plane + row * s.out[2], s.out[2]);
            }
          }
        });
  }
}

namespace {

/// One output channel of one image: every input element spreads the filter around its place.
void spread(const Spatial& s, const double* x, const double* w, double* sums) {
  for (std::int64_t kd = 0; kd < s.kernel[0]; ++kd) {
    for (std::int64_t kh = 0; kh < s.kernel[1]; ++kh) {
      for (std::int64_t kw = 0; kw < s.kernel[2]; ++kw) {
        const double weight = *w++;
        for (std::int64_t row = 0; row < s.in[0] * s.in[1]; ++row) {
          const std::int64_t d = row / s.in[1] * s.stride[0] + kd * s.dilation[0] - s.begin[0];
          const std::int64_t h = row % s.in[1] * s.stride[1] + kh * s.dilation[1] - s.begin[1];
          if (d < 0 || d >= s.out[0] || h < 0 || h >= s.out[1]) continue;
          double* to = sums + (d * s.out[1] + h) * s.out[2];
          for (std::int64_t i = 0; i < s.in[2]; ++i) {
            const std::int64_t place = i * s.stride[2] + kw * s.dilation[2] - s.begin[2];
            if (place >= 0 && place < s.out[2]) to[place] += weight * x[row * s.in[2] + i];
          }
        }
      }
    }
  }
}

}  // namespace

void compute(const TransposedConvolution& step, Inputs inputs, Outputs outputs, int threads) {
  const TensorView &x = inputs[0], &w = inputs[1];
  const MutableTensorView& y = outputs[0];
  require_float("transposed convolution", x);
  if (size_of(y.shape) == 0) return;
  const Spatial s(step.window, x.shape, y.shape);
  const std::int64_t channels = x.shape[1], filters = y.shape[1], per_group = w.shape[1];
  const std::int64_t depth = channels / step.groups, taps = s.kernel[0] * s.kernel[1] * s.kernel[2];
  const std::int64_t in = s.in[0] * s.in[1] * s.in[2], out = s.out[0] * s.out[1] * s.out[2];
  const std::vector<double> values = numbers(x), weights = numbers(w);
  const Epilogue epilogue{&step.activation, false, numbers(at(inputs, 2)), {}, {}, y};
  const auto planes = static_cast<std::size_t>(x.shape[0] * filters);
  core::parallel_for(planes, 1, threads, [&](std::size_t begin, std::size_t end) {
    std::vector<double> sums(static_cast<std::size_t>(out));
    for (auto p = static_cast<std::int64_t>(begin); p < static_cast<std::int64_t>(end); ++p) {
      const std::int64_t n = p / filters, k = p % filters, first = k / per_group * depth;
      std::ranges::fill(sums, 0.0);
      for (std::int64_t c = first; c < first + depth; ++c) {
        spread(s, values.data() + (n * channels + c) * in,
               weights.data() + (c * per_group + k % per_group) * taps, sums.data());
      }
      epilogue.apply(sums.data(), k, p * out, out);
    }
  });
}

}  // namespace rdquant::program::plain
