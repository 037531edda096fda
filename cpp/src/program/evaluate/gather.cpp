#include <algorithm>
#include <cstring>

#include "program/evaluate/steps.hpp"
#include "program/evaluate/walk.hpp"

namespace rdquant::program::plain {
namespace {

/// `index` counted from the front. @throws InvalidArgument  outside [−size, size)
std::int64_t checked(std::int64_t index, std::int64_t size) {
  if (index < -size || index >= size) {
    throw core::InvalidArgument("index " + std::to_string(index) + " is outside [" + std::to_string(-size) +
                                ", " + std::to_string(size) + ")");
  }
  return index < 0 ? index + size : index;
}

/// Offsets of the slices that tuples of indices name: each along the last axis of `indices` holds an index
/// per axis of `shape` from `batch_axes` on.
std::vector<std::int64_t> slice_offsets(const TensorView& indices, Sizes shape, std::int64_t batch_axes) {
  const std::vector<std::int64_t> values = integers(indices);
  const auto batch = static_cast<std::size_t>(batch_axes);
  const auto length = static_cast<std::size_t>(indices.shape.back());
  const std::int64_t tuples = product(indices.shape, 0, indices.shape.size() - 1);
  const std::int64_t batches = product(shape, 0, batch);
  const Strides strides = dense_strides(shape);
  const std::int64_t batch_step = product(shape, batch, shape.size());
  std::vector<std::int64_t> offsets;
  for (std::int64_t t = 0; t < tuples; ++t) {
    std::int64_t offset = t / (tuples / batches) * batch_step;
    for (std::size_t i = 0; i < length; ++i) {
      const std::int64_t index = values[static_cast<std::size_t>(t) * length + i];
      offset += checked(index, shape[batch + i]) * strides[batch + i];
    }
    offsets.push_back(offset);
  }
  return offsets;
}

}  // namespace

void compute(const Gather& step, Inputs inputs, Outputs outputs, int threads) {
  const TensorView& x = inputs[0];
  const Around around(x.shape, step.axis);
  std::vector<std::int64_t> indices = integers(inputs[1]);
  for (std::int64_t& index : indices) index = checked(index, around.size);
  const std::size_t bytes = static_cast<std::size_t>(around.inner) * core::size_of(x.dtype);
  if (bytes == 0) return;
  const auto count = static_cast<std::int64_t>(indices.size());
  share_lines(around.outer * count, around.inner, threads, [&](std::int64_t begin, std::int64_t end) {
    auto* to = outputs[0].as<std::byte>() + static_cast<std::size_t>(begin) * bytes;
    for (std::int64_t i = begin; i < end; ++i, to += bytes) {
      const std::int64_t from = i / count * around.size + indices[static_cast<std::size_t>(i % count)];
      std::memcpy(to, x.as<std::byte>() + static_cast<std::size_t>(from) * bytes, bytes);
    }
  });
}

void compute(const GatherElements& step, Inputs inputs, Outputs outputs, int threads) {
  const TensorView& x = inputs[0];
  const MutableTensorView& y = outputs[0];
  const auto axis = static_cast<std::size_t>(step.axis);
  const std::vector<std::int64_t> indices = integers(inputs[1]);
  const std::int64_t along = dense_strides(x.shape)[axis];
  Strides others = dense_strides(x.shape);
  others[axis] = 0;  // the index says where along this axis
  with_type(y.dtype, [&]<typename T>(Type<T>) {
    Walk<2>(y.shape, {dense_strides(y.shape), others}).elements(threads, [&](const auto& offset) {
      const std::int64_t index = checked(indices[static_cast<std::size_t>(offset[0])], x.shape[axis]);
      y.as<T>()[offset[0]] = x.as<T>()[offset[1] + index * along];
    });
  });
}

void compute(const GatherNd& step, Inputs inputs, Outputs outputs) {
  const TensorView& x = inputs[0];
  const MutableTensorView& y = outputs[0];
  if (size_of(y.shape) == 0) return;
  const std::vector<std::int64_t> offsets = slice_offsets(inputs[1], x.shape, step.batch_axes);
  const std::size_t item = core::size_of(x.dtype);
  const std::size_t bytes = static_cast<std::size_t>(size_of(y.shape)) / offsets.size() * item;
  for (std::size_t i = 0; i < offsets.size(); ++i) {
    std::memcpy(y.as<std::byte>() + i * bytes,
                x.as<std::byte>() + static_cast<std::size_t>(offsets[i]) * item, bytes);
  }
}

namespace {

template <typename T>
T reduced(Reduction reduction, T old, T update) {
  using Sum = std::conditional_t<kIsFloat<T>, double, std::uint64_t>;
  const auto a = convert<Sum>(old), b = convert<Sum>(update);
  const auto either = [](T chosen, T other) { return other != other ? other : chosen; };  // NaN wins
  switch (reduction) {
    case Reduction::none:
      return update;
    case Reduction::add:
      return convert<T>(a + b);
    case Reduction::mul:
      return convert<T>(a * b);
    case Reduction::min:
      return update < old ? either(update, old) : either(old, update);
    case Reduction::max:
      return update > old ? either(update, old) : either(old, update);
  }
  return update;
}

}  // namespace

void compute(const ScatterNd& step, Inputs inputs, Outputs outputs) {
  const TensorView &x = inputs[0], &updates = inputs[2];
  const MutableTensorView& y = outputs[0];
  const std::int64_t size = size_of(y.shape), updated = size_of(updates.shape);
  if (size != 0) std::memcpy(y.data, x.data, static_cast<std::size_t>(size) * core::size_of(y.dtype));
  if (updated == 0) return;
  const std::vector<std::int64_t> offsets = slice_offsets(inputs[1], x.shape, 0);
  const std::int64_t slice = updated / static_cast<std::int64_t>(offsets.size());
  with_type(y.dtype, [&]<typename T>(Type<T>) {
    const T* from = updates.as<T>();
    for (const std::int64_t offset : offsets) {
      T* to = y.as<T>() + offset;
      for (std::int64_t i = 0; i < slice; ++i) to[i] = reduced(step.reduction, to[i], *from++);
    }
  });
}

void compute(const ScatterElements& step, Inputs inputs, Outputs outputs) {
  const TensorView &x = inputs[0], &updates = inputs[2];
  const MutableTensorView& y = outputs[0];
  const std::int64_t size = size_of(y.shape);
  if (size != 0) std::memcpy(y.data, x.data, static_cast<std::size_t>(size) * core::size_of(y.dtype));
  const auto axis = static_cast<std::size_t>(step.axis);
  const std::vector<std::int64_t> indices = integers(inputs[1]);
  const std::int64_t along = dense_strides(x.shape)[axis];
  Strides others = dense_strides(x.shape);
  others[axis] = 0;  // the index says where along this axis
  with_type(y.dtype, [&]<typename T>(Type<T>) {
    Walk<2>(updates.shape, {dense_strides(updates.shape), others}).elements(1, [&](const auto& offset) {
      const std::int64_t index = checked(indices[static_cast<std::size_t>(offset[0])], x.shape[axis]);
      T& to = y.as<T>()[offset[1] + index * along];
      to = reduced(step.reduction, to, updates.as<T>()[offset[0]]);
    });
  });
}

void compute(const OneHot& step, Inputs inputs, Outputs outputs) {
  const MutableTensorView& y = outputs[0];
  const Around around(y.shape, step.axis);
  std::vector<std::int64_t> indices(static_cast<std::size_t>(size_of(inputs[0].shape)));
  with_type(inputs[0].dtype, [&]<typename T>(Type<T>) {
    for (std::size_t i = 0; i < indices.size(); ++i) indices[i] = convert<std::int64_t>(inputs[0].as<T>()[i]);
  });
  with_type(y.dtype, [&]<typename T>(Type<T>) {
    const T off = inputs[1].as<T>()[0], on = inputs[1].as<T>()[1];
    std::fill_n(y.as<T>(), size_of(y.shape), off);
    for (std::size_t i = 0; i < indices.size(); ++i) {
      const std::int64_t index = indices[i] < 0 ? indices[i] + around.size : indices[i];
      if (index < 0 || index >= around.size) continue;
      const auto place = static_cast<std::int64_t>(i);
      y.as<T>()[(place / around.inner * around.size + index) * around.inner + place % around.inner] = on;
    }
  });
}

}  // namespace rdquant::program::plain
