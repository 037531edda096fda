// Softmax and normalization of rows, channels and neighbouring channels.
#include "runtime/kernels/float32/normalize/normalize.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <utility>

#include "runtime/native/batch.hpp"
#include "runtime/native/float32/convolution.hpp"
#include "runtime/native/loops.hpp"
#include "runtime/native/rules.hpp"

namespace rdquant::runtime::native {
namespace {

using core::Shape;
using kernels::Index;
using program::kNone;
using program::Step;
using program::ValueId;

constexpr Index kFloats = 8192;  ///< that are worth a thread

const kernels::Normalize& normalize_kernels() { return kernels::normalize(float_kernels().isa); }

Index count_of(const Shape& shape, std::size_t from, std::size_t to) {
  Index count = 1;
  for (std::size_t i = from; i < to; ++i) count *= shape[i];
  return count;
}

bool is_float(const Builder& builder, const Step& step) {
  return !step.inputs.empty() && !step.outputs.empty() && all_float(builder.program(), step) &&
         core::element_count(builder.value(step.outputs[0]).shape) > 0;
}

/// Softmax over an axis with others behind it: columns side by side.
struct ColumnSoftmax {
  std::int64_t outer, length, inner;
  bool logarithm;
  int threads;

  static constexpr std::int64_t kColumns = 256;

  void operator()(void* const* operands) const {
    const auto* x = static_cast<const float*>(operands[0]);
    auto* y = static_cast<float*>(operands[1]);
    const auto work = logarithm ? normalize_kernels().log_softmax_columns : float_kernels().softmax_columns;
    const std::int64_t pieces = (inner + kColumns - 1) / kColumns;
    share(outer * pieces, 4, threads, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const std::int64_t at = i / pieces * length * inner, first = i % pieces * kColumns;
        work(x + at, y + at, length, inner, first, std::min(inner, first + kColumns));
      }
    });
  }
};

struct RowSoftmax {
  std::int64_t rows, length;
  bool logarithm;
  int threads;

  void operator()(void* const* operands) const {
    const auto work = logarithm ? normalize_kernels().log_softmax : float_kernels().softmax;
    share(rows, std::max<Index>(1, kFloats / 4 / length), threads, [&](Index begin, Index end) {
      work(static_cast<const float*>(operands[0]), static_cast<float*>(operands[1]), length, begin, end);
    });
  }
};

/// Over the last axes, with scale and shift.
bool layer(Builder& builder, const Step& step, const program::LayerNormalization& norm) {
  const Shape& shape = builder.value(step.inputs[0]).shape;
  const auto left_out = [](ValueId id) { return id == kNone; };  // mean and deviation, for training
  if (!std::all_of(step.outputs.begin() + 1, step.outputs.end(), left_out)) return false;
  const auto axis = static_cast<std::size_t>(norm.axis);
  const Index rows = count_of(shape, 0, axis), length = count_of(shape, axis, shape.size());
  const ValueId scale = program::input(step, 1), bias = program::input(step, 2);
  for (const ValueId id : {scale, bias}) {
    if (id != kNone && core::element_count(builder.value(id).shape) != length) return false;
  }
  std::vector<Place> operands{builder.read(step.inputs[0], Layout::plain), {}};
  if (scale != kNone) operands.push_back(builder.read(scale, Layout::plain));
  if (bias != kNone) operands.push_back(builder.read(bias, Layout::plain));
  operands[1] = builder.write(step.outputs[0], Layout::plain);
  const std::size_t count = operands.size();
  const auto work = [=, scaled = scale != kNone, biased = bias != kNone,
                     threads = builder.threads()](void* const* operand) {
    kernels::LayerNormArgs args{length, norm.epsilon, nullptr, nullptr, norm.root_mean_square};
    void* const* next = operand + 2;
    if (scaled) args.scale = static_cast<const float*>(*next++);
    if (biased) args.bias = static_cast<const float*>(*next);
    share(rows, std::max<Index>(1, kFloats / length), threads, [&](Index begin, Index end) {
      normalize_kernels().layer(args, static_cast<const float*>(operand[0]), static_cast<float*>(operand[1]),
                                begin, end);
    });
  };
  builder.emit(make_native(with_isa("layer"), count, work), std::move(operands), Layout::plain);
  return true;
}

/// Groups of channels of plain or blocked images. Operands: x, y, scale, bias, memory, residual?. What is normalized together
/// is taken while it is in a cache, as runs of whole groups: of blocked images the fewest blocks that hold such.
class GroupWork {
 public:
  GroupWork(const Shape& shape, const program::GroupNormalization& norm, kernels::Activation activation,
            bool blocked, bool adds, int threads)
      : activation_(activation),
        adds_(adds),
        images_(shape[0]),
        channels_(shape[1]),
        depth_(shape[1] / norm.groups),
        area_(count_of(shape, 2, shape.size())),
        epsilon_(static_cast<double>(norm.epsilon)),
        blocked_(blocked),
        threads_(threads),
        lanes_(blocked ? block_size() : 1),
        padded_(kernels::divide(channels_, lanes_) * lanes_),
        run_(std::min(padded_, std::lcm(depth_, lanes_))),
        runs_(kernels::divide(padded_, run_)) {}

  /// Moments, then mean, factor and bias of every channel of every run.
  [[nodiscard]] std::size_t bytes() const {
    return static_cast<std::size_t>(images_ * runs_ * run_) * (sizeof(kernels::Moments) + 3 * sizeof(float));
  }

  void operator()(void* const* operand) const {
    const Index items = images_ * runs_;
    if (items < threads_) {
      for (Index item = 0; item < items; ++item) normalize(operand, item, threads_);
      return;
    }
    share(items, std::max<Index>(1, kFloats / (run_ * area_)), threads_, [&](Index begin, Index end) {
      for (Index item = begin; item < end; ++item) normalize(operand, item, 1);
    });
  }

 private:
  void normalize(void* const* operand, Index item, int threads) const {
    const kernels::Normalize& own = normalize_kernels();
    const Index first = item % runs_ * run_, at = (item / runs_ * padded_ + first) * area_;
    const Index channels = std::min(run_, channels_ - first), parts = kernels::divide(channels, lanes_);
    const auto* const x = static_cast<const float*>(operand[0]) + at;
    auto* const y = static_cast<float*>(operand[1]) + at;
    auto* const moments = static_cast<kernels::Moments*>(operand[4]) + item * run_;
    auto* const numbers =
        reinterpret_cast<float*>(static_cast<kernels::Moments*>(operand[4]) + images_ * runs_ * run_) +
        3 * item * run_;
    const bool apart = blocked_ || threads > 1;  // moments by channel, not of a whole group at once
    const Index grain = std::max<Index>(1, kFloats / (lanes_ * area_));
    if (apart) {
      share(parts, grain, threads, [&](Index begin, Index end) {
        if (blocked_) return own.block_moments(x, area_, moments, begin, end);
        for (Index i = begin; i < end; ++i) moments[i] = own.moments(x + i * area_, area_);
      });
    } else {
      moments[0] = own.moments(x, channels * area_);
    }
    settle(operand, first, channels, apart ? depth_ : 1, moments, numbers);
    const float* const residual = adds_ ? static_cast<const float*>(operand[5]) + at : nullptr;
    const kernels::ScalingArgs args{channels,           numbers,  numbers + run_,
                                    numbers + 2 * run_, residual, activation_};
    share(parts, grain, threads, [&](Index begin, Index end) {
      (blocked_ ? own.scale_blocks : own.scale)(args, x, y, area_, begin, end);
    });
  }

  /// Mean, factor and bias of channels from `first` on, whose groups have `parts` equally large parts.
  void settle(void* const* operand, Index first, Index channels, Index parts, const kernels::Moments* moments,
              float* numbers) const {
    const auto* const scale = static_cast<const float*>(operand[2]) + first;
    const auto* const bias = static_cast<const float*>(operand[3]) + first;
    std::fill_n(numbers, 3 * run_, 0.0F);
    const auto count = static_cast<double>(depth_ * area_), size = count / static_cast<double>(parts);
    for (Index c = 0; c < channels; c += depth_, moments += parts) {
      double mean = 0, squares = 0;
      for (Index i = 0; i < parts; ++i) mean += moments[i].mean / static_cast<double>(parts);
      for (Index i = 0; i < parts; ++i) {
        const double difference = moments[i].mean - mean;
        squares += moments[i].squares + size * difference * difference;
      }
      const auto factor = static_cast<float>(1 / std::sqrt(squares / count + epsilon_));
      for (Index i = c; i < c + depth_; ++i) {
        numbers[i] = static_cast<float>(mean);
        numbers[run_ + i] = factor * scale[i];
        numbers[2 * run_ + i] = bias[i];
      }
    }
  }

  kernels::Activation activation_;
  bool adds_;
  Index images_, channels_, depth_, area_;
  double epsilon_;
  bool blocked_;
  int threads_;
  Index lanes_, padded_;
  Index run_, runs_;  ///< channels of a run, runs of an image
};

bool group(Builder& builder, const Step& step, const program::GroupNormalization& norm) {
  const auto activation = kernel_activation(norm.activation);
  const ValueId y = step.outputs[0];
  if (!activation || norm.activation.function == program::Function::prelu) return false;
  const Layout layout = builder.layout(y);
  const ValueId residual = program::input(step, 3);
  GroupWork work(builder.value(y).shape, norm, *activation, layout == Layout::blocked, residual != kNone,
                 builder.threads());
  std::vector<Place> operands{builder.read(step.inputs[0], layout), {}};
  for (const std::size_t i : {1U, 2U}) operands.push_back(builder.read(step.inputs[i], Layout::plain));
  operands.push_back(builder.scratch(work.bytes()));
  if (residual != kNone) operands.push_back(builder.read(residual, layout));
  operands[1] = builder.write(y, layout);
  const std::size_t count = operands.size();
  builder.emit(make_native(with_isa("group"), count, std::move(work)), std::move(operands), layout);
  return true;
}

/// Channels of plain or blocked images times a factor plus a shift. Operands: x, y, scale, bias, mean,
/// variance, memory for factors and shifts.
struct BatchWork {
  kernels::Activation activation;
  Index images, channels, area;
  bool blocked;
  float epsilon;
  int threads;

  void operator()(void* const* operand) const {
    const kernels::Kernels& own = float_kernels();
    const Index block = own.block, blocks = kernels::divide(channels, block);
    auto* const factors = static_cast<float*>(operand[6]);
    make_affine(operand + 2, channels, blocks * block, epsilon, factors);
    const float* const shifts = factors + blocks * block;
    const auto* const x = static_cast<const float*>(operand[0]);
    auto* const y = static_cast<float*>(operand[1]);
    if (area == 1 && !blocked) {
      rows(x, factors, shifts, y);
      return;
    }
    const Index lanes = blocked ? block : 1, parts = blocked ? blocks : channels;
    const Index piece = std::min(area, kPixels / lanes), pieces = kernels::divide(area, piece);
    share(images * parts * pieces, 2, threads, [&](Index begin, Index end) {
      for (Index item = begin; item < end; ++item) {
        const Index part = item / pieces % parts, first = item % pieces * piece;
        const Index pixels = std::min(piece, area - first);
        const Index at = (item / pieces * area + first) * lanes, n = pixels * lanes;
        if (blocked) {
          own.binary_channels(kernels::Binary::mul, false, x + at, 0, factors + part * block, 0, y + at, 0,
                              block, pixels, 0, 1);
          own.binary_channels(kernels::Binary::add, false, y + at, 0, shifts + part * block, 0, y + at, 0,
                              block, pixels, 0, 1);
        } else {
          own.binary(kernels::Binary::mul, x + at, 1, factors + part, 0, y + at, 0, n);
          own.binary(kernels::Binary::add, y + at, 1, shifts + part, 0, y + at, 0, n);
        }
        if (activation.function != kernels::Function::none) own.unary(activation, y + at, y + at, 0, n);
        const Index real = channels - part * block;
        for (Index i = real; blocked && i < block; ++i) {  // lanes past the last channel stay zero
          for (Index pixel = 0; pixel < pixels; ++pixel) y[at + pixel * block + i] = 0;
        }
      }
    });
  }

 private:
  static constexpr Index kPixels = 4096;

  /// Where each image is a row of channels.
  void rows(const float* x, const float* factors, const float* shifts, float* y) const {
    const kernels::Kernels& own = float_kernels();
    share(images, kPixels / channels + 1, threads, [&](Index begin, Index end) {
      for (Index at = begin * channels; at < end * channels; at += channels) {
        own.binary(kernels::Binary::mul, x + at, 1, factors, 1, y + at, 0, channels);
        own.binary(kernels::Binary::add, y + at, 1, shifts, 1, y + at, 0, channels);
        if (activation.function != kernels::Function::none)
          own.unary(activation, y + at, y + at, 0, channels);
      }
    });
  }
};

bool batch(Builder& builder, const Step& step, const program::BatchNormalization& norm) {
  const auto activation = kernel_activation(norm.activation);
  const ValueId y = step.outputs[0];
  const Shape& shape = builder.value(y).shape;
  if (!activation || norm.activation.function == program::Function::prelu || shape.size() < 2) return false;
  const Layout layout = builder.layout(y);
  const Index padded = kernels::divide(shape[1], block_size()) * block_size();
  BatchWork work{
      *activation,  shape[0],         shape[1], count_of(shape, 2, shape.size()), layout == Layout::blocked,
      norm.epsilon, builder.threads()};
  std::vector<Place> operands{builder.read(step.inputs[0], layout), {}};
  for (std::size_t i = 1; i < 5; ++i) operands.push_back(builder.read(step.inputs[i], Layout::plain));
  operands.push_back(builder.scratch(static_cast<std::size_t>(2 * padded) * sizeof(float)));
  operands[1] = builder.write(y, layout);
  builder.emit(make_native(with_isa("batch"), 7, std::move(work)), std::move(operands), layout);
  return true;
}

bool local_response(Builder& builder, const Step& step, const program::LocalResponseNormalization& norm) {
  const Shape& shape = builder.value(step.inputs[0]).shape;
  if (shape.size() < 2) return false;
  const kernels::LrnArgs args{shape[1], count_of(shape, 2, shape.size()), norm.size, norm.alpha, norm.beta,
                              norm.bias};
  const Index images = shape[0];
  builder.emit(make_native(with_isa("lrn"), 2,
                           [args, images, threads = builder.threads()](void* const* operand) {
                             const kernels::Normalize& own = normalize_kernels();
                             const Index vectors = kernels::divide(args.area, own.block);
                             const Index size = args.channels * args.area;
                             share(images * vectors, 1, threads, [&](Index begin, Index end) {
                               for (Index image = begin / vectors; image * vectors < end; ++image) {
                                 own.lrn(args, static_cast<const float*>(operand[0]) + image * size,
                                         static_cast<float*>(operand[1]) + image * size,
                                         std::max<Index>(0, begin - image * vectors),
                                         std::min(vectors, end - image * vectors));
                               }
                             });
                           }),
               {builder.read(step.inputs[0], Layout::plain), builder.write(step.outputs[0], Layout::plain)},
               Layout::plain);
  return true;
}

}  // namespace

bool build_softmax(Builder& builder, const Step& step) {
  const auto* softmax = std::get_if<program::Softmax>(&step.operation);
  if (softmax == nullptr || !is_float(builder, step)) return false;
  const Shape& shape = builder.value(step.inputs[0]).shape;
  const auto axis = static_cast<std::size_t>(softmax->axis);
  const Index outer = count_of(shape, 0, axis), inner = count_of(shape, axis + 1, shape.size());
  const Index length = shape[axis];
  const int threads = builder.threads();
  auto kernel =
      inner > 1 ? make_native(with_isa("columns"), 2,
                              ColumnSoftmax{outer, length, inner, softmax->logarithm, threads})
                : make_native(with_isa("rows"), 2, RowSoftmax{outer, length, softmax->logarithm, threads});
  builder.emit(std::move(kernel),
               {builder.read(step.inputs[0], Layout::plain), builder.write(step.outputs[0], Layout::plain)},
               Layout::plain);
  return true;
}

bool build_normalization(Builder& builder, const Step& step) {
  const auto& operation = step.operation;
  if (const auto* o = std::get_if<program::LayerNormalization>(&operation))
    return is_float(builder, step) && layer(builder, step, *o);
  if (const auto* o = std::get_if<program::BatchNormalization>(&operation))
    return is_float(builder, step) && batch(builder, step, *o);
  if (const auto* o = std::get_if<program::GroupNormalization>(&operation))
    return is_float(builder, step) && group(builder, step, *o);
  if (const auto* o = std::get_if<program::LocalResponseNormalization>(&operation))
    return is_float(builder, step) && local_response(builder, step, *o);
  return false;
}

}  // namespace rdquant::runtime::native
