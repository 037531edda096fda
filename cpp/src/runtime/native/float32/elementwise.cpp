// Functions of one number and of two, the latter with NumPy's broadcasting.
#include <algorithm>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "runtime/kernels/float32/elementary/elementary.hpp"
#include "runtime/native/broadcast.hpp"
#include "runtime/native/float32/convolution.hpp"
#include "runtime/native/loops.hpp"
#include "runtime/native/rules.hpp"

namespace rdquant::runtime::native {
namespace {

using core::Shape;
using kernels::Index;
using program::BinaryFunction;
using program::Step;
using program::ValueId;

constexpr Index kPiece = 4096;  ///< floats that one call of a kernel takes: they stay in the first cache

/// Lanes of blocked images past the last channel, which have to be zero.
struct Padding {
  Index images = 0, blocks = 0, area = 0, block = 1,
        lanes = 0;  ///< lanes of the last block that are channels

  void clear(float* y, int threads) const {
    if (lanes == 0) return;
    share(images, 1, threads, [&](Index begin, Index end) {
      for (Index image = begin; image < end; ++image) {
        float* const last = y + (image * blocks + blocks - 1) * area * block;
        for (Index pixel = 0; pixel < area; ++pixel)
          std::fill_n(last + pixel * block + lanes, block - lanes, 0.0F);
      }
    });
  }
};

Padding padding_of(const Shape& shape, Layout layout) {
  if (layout != Layout::blocked) return {};
  const Index block = block_size();
  return {shape[0], kernels::divide(shape[1], block), shape[2] * shape[3], block, shape[1] % block};
}

std::optional<kernels::Binary> kernel_function(BinaryFunction function) {
  switch (function) {
    case BinaryFunction::add:
      return kernels::Binary::add;
    case BinaryFunction::sub:
      return kernels::Binary::sub;
    case BinaryFunction::mul:
      return kernels::Binary::mul;
    case BinaryFunction::div:
      return kernels::Binary::div;
    case BinaryFunction::min:
      return kernels::Binary::min;
    case BinaryFunction::max:
      return kernels::Binary::max;
    case BinaryFunction::prelu:
      return kernels::Binary::prelu;
    case BinaryFunction::pow:
      return kernels::Binary::pow;
    default:
      return std::nullopt;
  }
}

std::optional<kernels::Elementary> elementary_function(program::Function function) {
  using From = program::Function;
  using To = kernels::Elementary;
  switch (function) {
    case From::log:
      return To::log;
    case From::softplus:
      return To::softplus;
    case From::selu:
      return To::selu;
    case From::celu:
      return To::celu;
    case From::softsign:
      return To::softsign;
    case From::thresholded_relu:
      return To::thresholded_relu;
    case From::shrink:
      return To::shrink;
    case From::sign:
      return To::sign;
    case From::round:
      return To::round;
    case From::sin:
      return To::sin;
    case From::cos:
      return To::cos;
    case From::tan:
      return To::tan;
    case From::asin:
      return To::asin;
    case From::acos:
      return To::acos;
    case From::atan:
      return To::atan;
    case From::sinh:
      return To::sinh;
    case From::cosh:
      return To::cosh;
    case From::asinh:
      return To::asinh;
    case From::acosh:
      return To::acosh;
    case From::atanh:
      return To::atanh;
    default:
      return std::nullopt;
  }
}

/// y = f(x) over n floats.
using FloatsToFloats = std::function<void(const float* x, float* y, Index n)>;

/// Empty where no kernel computes the function.
FloatsToFloats function_of(const program::Activation& f) {
  if (const auto activation = kernel_activation(f)) {
    return [&own = float_kernels(), f = *activation](const float* x, float* y, Index n) {
      own.unary(f, x, y, 0, n);
    };
  }
  const auto elementary = elementary_function(f.function);
  if (!elementary) return {};
  return [&own = kernels::elementary(float_kernels().isa), g = *elementary, a = f.a, b = f.b](
             const float* x, float* y, Index n) { own.unary(g, a, b, x, y, n); };
}

/// f(a, b) over all axes, the innermost in pieces.
struct BinaryWork {
  const kernels::Kernels& kernels;
  kernels::Binary function;
  kernels::Activation activation;
  std::vector<WalkedAxis> axes;
  bool
      by_channel;  ///< the last two axes are pixels and a block of channels; one operand is the same for all pixels
  bool by_row;  ///< the last two axes are rows of few numbers
  Padding padding;
  int threads;

  void operator()(void* const* operand) const {
    const std::size_t inner = by_channel || by_row ? 2 : 1;
    Index runs = 1, length = 1;
    for (std::size_t i = 0; i < axes.size(); ++i) (i + inner < axes.size() ? runs : length) *= axes[i].count;
    const WalkedAxis& split = axes[axes.size() - inner];  // cut into pieces
    const Index step = length / split.count;
    const Index size = std::max<Index>(1, kPiece / step), pieces = kernels::divide(split.count, size);
    share(runs * pieces, std::max<Index>(1, kPiece / length), threads, [&](Index begin, Index end) {
      for (Index item = begin; item < end; ++item) {
        const Index first = item % pieces * size, count = std::min(size, split.count - first);
        const auto at = places_at(axes, axes.size() - inner, item / pieces);
        run(static_cast<const float*>(operand[0]) + at[0] + first * split.step[0],
            static_cast<const float*>(operand[1]) + at[1] + first * split.step[1],
            static_cast<float*>(operand[2]) + item / pieces * length + first * step, count);
      }
    });
    padding.clear(static_cast<float*>(operand[2]), threads);
  }

 private:
  void run(const float* a, const float* b, float* y, Index count) const {
    const WalkedAxis& last = axes.back();
    if (by_channel) {
      const WalkedAxis& pixels = axes[axes.size() - 2];
      const bool reversed = pixels.step[0] == 0;
      kernels.binary_channels(function, reversed, reversed ? b : a, 0, reversed ? a : b, 0, y, 0, last.count,
                              count, 0, 1);
      count *= last.count;
    } else if (by_row) {
      const WalkedAxis& rows = axes[axes.size() - 2];
      kernels.binary_rows(function, a, rows.step[0], last.step[0], b, rows.step[1], last.step[1], y,
                          last.count, 0, count);
      count *= last.count;
    } else {
      kernels.binary(function, a, last.step[0], b, last.step[1], y, 0, count);
    }
    if (activation.function != kernels::Function::none) kernels.unary(activation, y, y, 0, count);
  }
};

bool is_by_channel(const std::vector<WalkedAxis>& axes) {
  if (axes.size() < 2 || axes.back().count != block_size()) return false;
  const WalkedAxis &pixels = axes[axes.size() - 2], &lanes = axes.back();
  return lanes.step[0] == 1 && lanes.step[1] == 1 && (pixels.step[0] == 0) != (pixels.step[1] == 0);
}

/// Rows that would cost more to find one by one than to compute.
bool is_by_row(const std::vector<WalkedAxis>& axes) {
  constexpr Index kShort = 128;
  return axes.size() >= 2 && axes.back().count <= kShort;
}

/// `shape` with ones before it, as NumPy aligns it to `axes`.
Shape aligned(const Shape& shape, std::size_t axes) {
  Shape result(axes - shape.size(), 1);
  result.insert(result.end(), shape.begin(), shape.end());
  return result;
}

/// Axes of images in blocks of `block` channels.
Shape in_blocks(const Shape& shape, Index block) {
  return {shape[0], kernels::divide(shape[1], block), shape[2], shape[3], block};
}

/// An operand of a result of `shape` in `layout`: where it lies and its axes there.
std::pair<Place, Shape> operand_of(Builder& builder, ValueId id, const Shape& shape, Layout layout) {
  const Shape own = aligned(builder.value(id).shape, shape.size());
  if (layout != Layout::blocked) return {builder.read(id, Layout::plain), own};
  if (own[1] == shape[1]) return {builder.read_as(id, own, Layout::blocked), in_blocks(own, block_size())};
  return {builder.read(id, Layout::plain), in_blocks(own, 1)};  // one channel for all
}

}  // namespace

bool build_unary(Builder& builder, const Step& step) {
  if (!is_plain_unary(builder.program(), step)) return false;
  const Layout layout = builder.layout(step.outputs[0]);
  FloatsToFloats function = function_of(std::get<program::Unary>(step.operation).activation);
  if (!function) return false;
  const Shape& shape = builder.value(step.outputs[0]).shape;
  const Index n = elements_in(shape, layout);
  builder.emit(make_native(with_isa("unary"), 2,
                           [f = std::move(function), n, padding = padding_of(shape, layout),
                            threads = builder.threads()](void* const* operands) {
                             const auto* const x = static_cast<const float*>(operands[0]);
                             auto* const y = static_cast<float*>(operands[1]);
                             share(kernels::divide(n, kPiece), 1, threads, [&](Index begin, Index end) {
                               f(x + begin * kPiece, y + begin * kPiece,
                                 std::min(n, end * kPiece) - begin * kPiece);
                             });
                             padding.clear(y, threads);
                           }),
               {builder.read(step.inputs[0], layout), builder.write(step.outputs[0], layout)}, layout);
  return true;
}

bool build_binary(Builder& builder, const Step& step) {
  if (!is_plain_binary(builder.program(), step)) return false;
  const auto& binary = std::get<program::Binary>(step.operation);
  const auto function = kernel_function(binary.function);
  const auto activation = kernel_activation(binary.activation);
  if (!function || !activation) return false;
  const ValueId out = step.outputs[0];
  const Layout layout = builder.layout(out);
  const Shape& shape = builder.value(out).shape;
  const Shape result = layout == Layout::blocked ? in_blocks(shape, block_size()) : shape;
  const auto [a, a_shape] = operand_of(builder, step.inputs[0], shape, layout);
  const auto [b, b_shape] = operand_of(builder, step.inputs[1], shape, layout);
  std::vector<WalkedAxis> axes = walked_axes(result, {&a_shape, &b_shape});
  const kernels::Kernels& own = float_kernels();
  const bool by_channel = is_by_channel(axes), by_row = !by_channel && is_by_row(axes);
  builder.emit(make_native("binary " + std::string(core::isa_name(own.isa)), 3,
                           BinaryWork{own, *function, *activation, std::move(axes), by_channel, by_row,
                                      padding_of(shape, layout), builder.threads()}),
               {a, b, builder.write(out, layout)}, layout);
  return true;
}

}  // namespace rdquant::runtime::native
