#include <algorithm>
#include <cstring>

#include "program/evaluate/steps.hpp"
#include "program/evaluate/walk.hpp"

/// Steps that move elements and compute nothing.
namespace rdquant::program::plain {
namespace {

template <typename Visit>
void with_bytes(std::size_t bytes, Visit&& visit) {
  switch (bytes) {
    case 1:
      return visit(Type<std::uint8_t>{});
    case 2:
      return visit(Type<std::uint16_t>{});
    case 4:
      return visit(Type<std::uint32_t>{});
    default:
      return visit(Type<std::uint64_t>{});
  }
}

std::byte* element(void* data, std::int64_t offset, DType dtype) {
  return static_cast<std::byte*>(data) + offset * static_cast<std::int64_t>(core::size_of(dtype));
}
const std::byte* element(const void* data, std::int64_t offset, DType dtype) {
  return static_cast<const std::byte*>(data) + offset * static_cast<std::int64_t>(core::size_of(dtype));
}

/// `x` read with `strides` under y's shape.
void copy_from(const TensorView& x, std::int64_t offset, const Strides& strides, const MutableTensorView& y,
               int threads) {
  copy(core::size_of(y.dtype), y.shape, y.data, dense_strides(y.shape), element(x.data, offset, x.dtype),
       strides, threads);
}

/// `x`, seen as `sizes`, with its axes permuted.
void permute(const TensorView& x, Sizes sizes, std::span<const std::int64_t> permutation,
             const MutableTensorView& y, int threads) {
  const Strides dense = dense_strides(sizes);
  core::Shape shape;
  Strides strides;
  for (const std::int64_t axis : permutation) {
    shape.push_back(sizes[static_cast<std::size_t>(axis)]);
    strides.push_back(dense[static_cast<std::size_t>(axis)]);
  }
  copy_from(x, 0, strides, {y.dtype, shape, y.data}, threads);
}

}  // namespace

void copy(std::size_t bytes, Sizes sizes, void* to, const Strides& to_strides, const void* from,
          const Strides& from_strides, int threads) {
  const Walk<2> walk(sizes, {to_strides, from_strides});
  with_bytes(bytes, [&]<typename T>(Type<T>) {
    walk.rows(threads, [&](std::int64_t count, const auto& offset, const auto& step) {
      T* t = static_cast<T*>(to) + offset[0];
      const T* f = static_cast<const T*>(from) + offset[1];
      for (std::int64_t i = 0; i < count; ++i) t[i * step[0]] = f[i * step[1]];
    });
  });
}

void compute(const Concat& step, Inputs inputs, Outputs outputs, int threads) {
  const MutableTensorView& y = outputs[0];
  const Strides strides = dense_strides(y.shape);
  const auto axis = static_cast<std::size_t>(step.axis);
  std::int64_t begin = 0;
  for (const TensorView& x : inputs) {
    copy(core::size_of(y.dtype), x.shape, element(y.data, begin * strides[axis], y.dtype), strides, x.data,
         dense_strides(x.shape), threads);
    begin += x.shape[axis];
  }
}

void compute(const Split& step, Inputs inputs, Outputs outputs, int threads) {
  const TensorView& x = inputs[0];
  const Strides strides = dense_strides(x.shape);
  const auto axis = static_cast<std::size_t>(step.axis);
  std::int64_t begin = 0;
  for (const MutableTensorView& y : outputs) {
    if (present(y)) copy_from(x, begin * strides[axis], strides, y, threads);
    begin += y.shape[axis];
  }
}

void compute(const Slice& step, Inputs inputs, Outputs outputs, int threads) {
  if (size_of(outputs[0].shape) == 0) return;
  Strides strides = dense_strides(inputs[0].shape);
  std::int64_t offset = 0;
  for (std::size_t i = 0; i < strides.size(); ++i) {
    offset += step.starts[i] * strides[i];
    strides[i] *= step.steps[i];
  }
  copy_from(inputs[0], offset, strides, outputs[0], threads);
}

namespace {

/// Where index `i` of a padded axis comes from; −1: the constant.
std::int64_t pad_source(PadMode mode, std::int64_t i, std::int64_t size) {
  if (i >= 0 && i < size) return i;
  const std::int64_t period = 2 * (size - 1);
  switch (mode) {
    case PadMode::constant:
      return -1;
    case PadMode::edge:
      return i < 0 ? 0 : size - 1;
    case PadMode::reflect:
      if (period == 0) return 0;
      i = ((i % period) + period) % period;
      return i < size ? i : period - i;
    case PadMode::wrap:
      return ((i % size) + size) % size;
  }
  return -1;
}

}  // namespace

void compute(const Pad& step, Inputs inputs, Outputs outputs, int threads) {
  const TensorView &x = inputs[0], value = at(inputs, 1);
  const MutableTensorView& y = outputs[0];
  const std::int64_t size = size_of(y.shape), rank = static_cast<std::int64_t>(y.shape.size());
  if (size_of(x.shape) == 0 && step.mode != PadMode::constant && size != 0) {
    throw core::InvalidArgument("an empty tensor " + core::shape_text(x.shape) + " has nothing to pad with");
  }
  const Strides dense = dense_strides(x.shape);
  std::vector<Strides> sources(y.shape.size());  // offset of each index along each axis, −1: constant
  for (std::size_t a = 0; a < sources.size(); ++a) {
    sources[a] = program::pad_places(step, x.shape, y.shape, a);
    for (std::int64_t& from : sources[a]) from = from < 0 ? -1 : from * dense[a];
  }
  with_bytes(core::size_of(y.dtype), [&]<typename T>(Type<T>) {
    const T constant = present(value) ? *value.as<T>() : T{};
    share_lines(size, 1, threads, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t o = begin; o < end; ++o) {
        std::int64_t offset = 0, rest = o;
        for (std::int64_t a = rank; a-- > 0 && offset >= 0;) {
          const auto axis = static_cast<std::size_t>(a);
          const std::int64_t from = sources[axis][static_cast<std::size_t>(rest % y.shape[axis])];
          offset = from < 0 ? -1 : offset + from;
          rest /= y.shape[axis];
        }
        y.as<T>()[o] = offset < 0 ? constant : x.as<T>()[offset];
      }
    });
  });
}

void compute(const Reshape&, Inputs inputs, Outputs outputs) {
  const auto bytes = static_cast<std::size_t>(size_of(outputs[0].shape)) * core::size_of(outputs[0].dtype);
  if (bytes != 0) std::memmove(outputs[0].data, inputs[0].data, bytes);
}

void compute(const Transpose& step, Inputs inputs, Outputs outputs, int threads) {
  permute(inputs[0], inputs[0].shape, step.permutation, outputs[0], threads);
}

void compute(const Expand&, Inputs inputs, Outputs outputs, int threads) {
  copy_from(inputs[0], 0, broadcast_strides(inputs[0].shape, outputs[0].shape), outputs[0], threads);
}

void compute(const Tile& step, Inputs inputs, Outputs outputs, int threads) {
  core::Shape sizes;  // [repeats, size] per axis
  Strides strides;
  const Strides dense = dense_strides(inputs[0].shape);
  for (std::size_t i = 0; i < dense.size(); ++i) {
    sizes.insert(sizes.end(), {step.repeats[i], inputs[0].shape[i]});
    strides.insert(strides.end(), {0, dense[i]});
  }
  copy_from(inputs[0], 0, strides, {outputs[0].dtype, sizes, outputs[0].data}, threads);
}

void compute(const Triangle& step, Inputs inputs, Outputs outputs, int threads) {
  const TensorView& x = inputs[0];
  const MutableTensorView& y = outputs[0];
  const std::int64_t k = present(at(inputs, 1)) ? integers(inputs[1])[0] : 0;
  const std::size_t rank = y.shape.size();
  const std::int64_t rows = y.shape[rank - 2], columns = y.shape[rank - 1], size = size_of(y.shape);
  with_bytes(core::size_of(y.dtype), [&]<typename T>(Type<T>) {
    share_lines(size, 1, threads, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const std::int64_t row = i / columns % rows, column = i % columns;
        // column − row is within ± 2^62, so that no k overflows the comparison
        const bool kept = step.upper ? column - row >= k : column - row <= k;
        y.as<T>()[i] = kept ? x.as<T>()[i] : T{};
      }
    });
  });
}

void compute(const DepthToSpace& step, Inputs inputs, Outputs outputs, int threads) {
  const Sizes x = inputs[0].shape;
  const std::int64_t b = step.block, depth = x[1] / (b * b);
  if (step.column_row_depth) {
    permute(inputs[0], core::Shape{x[0], depth, b, b, x[2], x[3]}, core::Shape{0, 1, 4, 2, 5, 3}, outputs[0],
            threads);
  } else {
    permute(inputs[0], core::Shape{x[0], b, b, depth, x[2], x[3]}, core::Shape{0, 3, 4, 1, 5, 2}, outputs[0],
            threads);
  }
}

void compute(const SpaceToDepth& step, Inputs inputs, Outputs outputs, int threads) {
  const Sizes x = inputs[0].shape;
  const std::int64_t b = step.block;
  permute(inputs[0], core::Shape{x[0], x[1], x[2] / b, b, x[3] / b, b}, core::Shape{0, 3, 5, 1, 2, 4},
          outputs[0], threads);
}

}  // namespace rdquant::program::plain

namespace rdquant::program {

std::vector<std::int64_t> pad_places(const Pad& step, std::span<const std::int64_t> from,
                                     std::span<const std::int64_t> to, std::size_t axis) {
  std::vector<std::int64_t> places(static_cast<std::size_t>(to[axis]));
  for (std::size_t i = 0; i < places.size(); ++i)
    places[i] = plain::pad_source(step.mode, static_cast<std::int64_t>(i) - step.begins[axis], from[axis]);
  return places;
}

}  // namespace rdquant::program
