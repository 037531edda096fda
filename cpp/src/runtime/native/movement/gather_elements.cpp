// GatherElements and ScatterElements of numbers of four bytes.
#include <algorithm>
#include <array>
#include <cstring>
#include <utility>
#include <vector>

#include "runtime/native/loops.hpp"
#include "runtime/native/movement/indices.hpp"
#include "runtime/native/rules.hpp"

namespace rdquant::runtime::native {
namespace {

using core::Shape;
using program::Reduction;
using program::Step;
using program::Value;

/// An index for each of many numbers: where along one axis of another array of as many axes it stands.
struct Elements {
  const Step& step;                   // the Program outlives its Executable
  Shape shape;                        ///< of the indices
  std::vector<std::int64_t> strides;  ///< of the other array, 0 along the axis
  std::int64_t size, along;           ///< of the other array, along the axis
  bool wide;                          ///< indices of 64 bits
  int threads;

  Elements(const Step& of, std::int64_t axis, const Value& array, const Value& indices, int most)
      : step(of),
        shape(indices.shape),
        strides(array.shape.size()),
        size(array.shape[static_cast<std::size_t>(axis)]),
        along(0),
        wide(indices.dtype == core::DType::i64),
        threads(most) {
    std::int64_t stride = 1;
    for (std::size_t i = strides.size(); i-- > 0; stride *= array.shape[i]) strides[i] = stride;
    along = std::exchange(strides[static_cast<std::size_t>(axis)], 0);
  }

  /// each(number, place) for all numbers of the lines [begin, end) along the last axis, in their order.
  template <typename Index, typename Each>
  void lines(const Index* indices, std::int64_t begin, std::int64_t end, const Each& each) const {
    const std::int64_t length = shape.back(), last = strides.back();
    std::vector<std::int64_t> at(shape.size(), 0);
    std::int64_t base = 0;
    for (std::int64_t i = static_cast<std::int64_t>(shape.size()) - 2, rest = begin; i >= 0; --i) {
      const auto axis = static_cast<std::size_t>(i);
      at[axis] = rest % shape[axis];
      base += at[axis] * strides[axis];
      rest /= shape[axis];
    }
    for (std::int64_t line = begin; line < end; ++line) {
      const std::int64_t first = line * length;
      if (last == 0) {  // the indices are along this axis
        for (std::int64_t n = first; n < first + length; ++n) each(n, base + place(indices[n]));
      } else {
        for (std::int64_t i = 0; i < length; ++i)
          each(first + i, base + i * last + place(indices[first + i]) * along);
      }
      base += next(at);
    }
  }

  /// The same for all of them on the threads, or on one.
  template <typename Each>
  void all(const void* indices, bool alone, const Each& each) const {
    const std::int64_t count = product(shape, 0, shape.size() - 1);
    const std::int64_t grain = std::max<std::int64_t>(1, 4096 / shape.back());
    share(count, grain, alone ? 1 : threads, [&](std::int64_t begin, std::int64_t end) {
      if (wide) return lines(static_cast<const std::int64_t*>(indices), begin, end, each);
      lines(static_cast<const std::int32_t*>(indices), begin, end, each);
    });
  }

 private:
  [[nodiscard]] std::int64_t place(std::int64_t index) const {
    const std::int64_t counted = index + (index >> 63 & size);  // from the front, without a branch
    if (static_cast<std::uint64_t>(counted) >= static_cast<std::uint64_t>(size)) [[unlikely]]
      refuse(index);
    return counted;
  }

  /// Out of the way, for loops to keep everything in registers.
  [[noreturn, gnu::cold, gnu::noinline]] void refuse(std::int64_t index) const {
    checked(step, index, size);
    __builtin_unreachable();
  }

  /// The next line: how far on it is in the other array.
  [[nodiscard]] std::int64_t next(std::vector<std::int64_t>& at) const {
    std::int64_t moved = 0;
    for (std::size_t axis = shape.size() - 1; axis-- > 0;) {
      moved += strides[axis];
      if (++at[axis] < shape[axis]) return moved;
      moved -= shape[axis] * strides[axis];
      at[axis] = 0;
    }
    return moved;
  }
};

/// What is there after `update` came. NaN stays.
template <Reduction kHow>
float updated(float old, float update) {
  const auto either = [](float chosen, float other) { return other != other ? other : chosen; };
  if constexpr (kHow == Reduction::add) return old + update;
  if constexpr (kHow == Reduction::mul) return old * update;
  if constexpr (kHow == Reduction::min) return update < old ? either(update, old) : either(old, update);
  if constexpr (kHow == Reduction::max) return update > old ? either(update, old) : either(old, update);
  return update;
}

/// Operands: to, from, indices, updates.
struct ScatterElementsWork {
  Elements elements;
  Reduction reduction;
  std::size_t bytes;  ///< of the array

  void operator()(void* const* operands) const {
    if (operands[0] != operands[1]) std::memcpy(operands[0], operands[1], bytes);
    switch (reduction) {
      case Reduction::none:
        return scatter<Reduction::none, std::uint32_t>(operands);  // copied, of whatever type
      case Reduction::add:
        return scatter<Reduction::add, float>(operands);
      case Reduction::mul:
        return scatter<Reduction::mul, float>(operands);
      case Reduction::min:
        return scatter<Reduction::min, float>(operands);
      case Reduction::max:
        return scatter<Reduction::max, float>(operands);
    }
  }

 private:
  template <Reduction kHow, typename T>
  void scatter(void* const* operands) const {
    auto* const to = static_cast<T*>(operands[0]);
    const auto* const updates = static_cast<const T*>(operands[3]);
    // on one thread: several updates may go to one place
    elements.all(operands[2], true, [=](std::int64_t number, std::int64_t place) {
      if constexpr (kHow == Reduction::none) {
        to[place] = updates[number];
      } else {
        to[place] = updated<kHow>(to[place], updates[number]);
      }
    });
  }
};

bool takes_indices(const Value& array, const Value& indices) {
  return core::size_of(array.dtype) == sizeof(float) && !indices.shape.empty() &&
         (indices.dtype == core::DType::i64 || indices.dtype == core::DType::i32) &&
         core::element_count(indices.shape) != 0;
}

}  // namespace

bool build_gather_elements(Builder& builder, const Step& step) {
  const auto* gather = std::get_if<program::GatherElements>(&step.operation);
  if (gather == nullptr) return false;
  const Value &x = builder.value(step.inputs[0]), &indices = builder.value(step.inputs[1]);
  if (!takes_indices(x, indices)) return false;
  const Elements elements(step, gather->axis, x, indices, builder.threads());
  builder.emit(make_native("elements", 3,
                           [elements](void* const* operands) {
                             auto* const to = static_cast<std::uint32_t*>(operands[0]);
                             const auto* const from = static_cast<const std::uint32_t*>(operands[1]);
                             elements.all(operands[2], false, [=](std::int64_t number, std::int64_t place) {
                               to[number] = from[place];
                             });
                           }),
               {builder.write(step.outputs[0], Layout::plain), builder.read(step.inputs[0], Layout::plain),
                builder.read(step.inputs[1], Layout::plain)},
               Layout::plain);
  return true;
}

bool build_scatter_elements(Builder& builder, const Step& step) {
  const auto* scatter = std::get_if<program::ScatterElements>(&step.operation);
  if (scatter == nullptr) return false;
  const Value &x = builder.value(step.inputs[0]), &indices = builder.value(step.inputs[1]);
  if (!takes_indices(x, indices)) return false;
  if (scatter->reduction != Reduction::none && x.dtype != core::DType::f32) return false;
  const std::size_t bytes = static_cast<std::size_t>(core::element_count(x.shape)) * sizeof(float);
  builder.emit(make_native("elements", 4,
                           ScatterElementsWork{Elements(step, scatter->axis, x, indices, builder.threads()),
                                               scatter->reduction, bytes}),
               {builder.write(step.outputs[0], Layout::plain), builder.read(step.inputs[0], Layout::plain),
                builder.read(step.inputs[1], Layout::plain), builder.read(step.inputs[2], Layout::plain)},
               Layout::plain);
  return true;
}

}  // namespace rdquant::runtime::native
