// Gather and ScatterND of numbers of four bytes.
#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "rdquant/core/error.hpp"
#include "runtime/definition.hpp"
#include "runtime/native/loops.hpp"
#include "runtime/native/predicates.hpp"
#include "runtime/native/rules.hpp"

namespace rdquant::runtime::native {
namespace {

using core::Shape;
using program::kNone;
using program::Step;
using program::Value;

/// `index` counted from the front. @throws InvalidArgument  outside [−size, size)
std::int64_t checked(const Step& step, std::int64_t index, std::int64_t size) {
  if (index < -size || index >= size) {
    throw core::InvalidArgument(label(step) + "index " + std::to_string(index) + " is outside [" +
                                std::to_string(-size) + ", " + std::to_string(size) + ")");
  }
  return index < 0 ? index + size : index;
}

std::int64_t product(const Shape& shape, std::size_t begin, std::size_t end) {
  std::int64_t result = 1;
  for (std::size_t i = begin; i < end; ++i) result *= shape[i];
  return result;
}

std::int64_t number(const void* indices, bool wide, std::int64_t i) {
  return wide ? static_cast<const std::int64_t*>(indices)[i] : static_cast<const std::int32_t*>(indices)[i];
}

/// Operands: to, from, indices.
struct GatherWork {
  const Step& step;  // the Program outlives its Executable
  std::int64_t outer, size, inner, count;
  bool wide;  ///< indices of 64 bits
  int threads;

  void operator()(void* const* operands) const {
    auto* const to = static_cast<float*>(operands[0]);
    const auto* const from = static_cast<const float*>(operands[1]);
    std::vector<std::int64_t> offsets(static_cast<std::size_t>(count));
    for (std::int64_t i = 0; i < count; ++i)
      offsets[static_cast<std::size_t>(i)] = checked(step, number(operands[2], wide, i), size) * inner;
    const std::int64_t grain = std::max<std::int64_t>(1, 8192 / std::max<std::int64_t>(1, count * inner));
    share(outer, grain, threads, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t o = begin; o < end; ++o)
        copy(from + o * size * inner, offsets, to + o * count * inner);
    });
  }

 private:
  void copy(const float* from, const std::vector<std::int64_t>& offsets, float* to) const {
    if (inner == 1) {
      for (std::size_t i = 0; i < offsets.size(); ++i) to[i] = from[offsets[i]];
      return;
    }
    for (const std::int64_t offset : offsets) {
      std::memcpy(to, from + offset, static_cast<std::size_t>(inner) * sizeof(float));
      to += inner;
    }
  }
};

/// Constant tuples of indices as runs: places that follow one another, in the order of the updates.
class RunsPacker final : public Packer {
 public:
  RunsPacker(const Step& step, Shape shape, std::size_t length, std::int64_t tuples, std::int64_t slice,
             bool wide)
      : step_(step), shape_(std::move(shape)), length_(length), tuples_(tuples), slice_(slice), wide_(wide) {}

  struct Run {
    std::int64_t place, floats;
  };

  /// The number of runs, then the runs.
  [[nodiscard]] static std::size_t bytes(std::int64_t tuples) {
    return static_cast<std::size_t>(tuples + 1) * sizeof(Run);
  }

  void pack(const void* from, void* to) const override {
    auto* const runs = static_cast<Run*>(to);
    std::int64_t count = 0;
    for (std::int64_t t = 0; t < tuples_; ++t) {
      const std::int64_t place = place_of(from, t);
      if (count > 0 && runs[count].place + runs[count].floats == place) {
        runs[count].floats += slice_;
      } else {
        runs[++count] = {place, slice_};
      }
    }
    runs[0] = {count, 0};
  }

 private:
  [[nodiscard]] std::int64_t place_of(const void* from, std::int64_t tuple) const {
    std::int64_t place = 0;
    for (std::size_t i = 0; i < length_; ++i) {
      const std::int64_t at = tuple * static_cast<std::int64_t>(length_) + static_cast<std::int64_t>(i);
      place += checked(step_, number(from, wide_, at), shape_[i]) * product(shape_, i + 1, shape_.size());
    }
    return place;
  }

  const Step& step_;  // the Program outlives its Executable
  Shape shape_;
  std::size_t length_;
  std::int64_t tuples_, slice_;
  bool wide_;
};

}  // namespace

bool build_gather(Builder& builder, const Step& step) {
  const auto* op = std::get_if<program::Gather>(&step.operation);
  if (op == nullptr) return false;
  const Value &x = builder.value(step.inputs[0]), &indices = builder.value(step.inputs[1]);
  const bool wide = indices.dtype == core::DType::i64;
  if (core::size_of(x.dtype) != sizeof(float) || !(wide || indices.dtype == core::DType::i32)) return false;
  if (core::element_count(builder.value(step.outputs[0]).shape) == 0) return false;
  const auto axis = static_cast<std::size_t>(op->axis);
  GatherWork work{step,
                  product(x.shape, 0, axis),
                  x.shape[axis],
                  product(x.shape, axis + 1, x.shape.size()),
                  core::element_count(indices.shape),
                  wide,
                  builder.threads()};
  builder.emit(make_native("copy", 3, work),
               {builder.write(step.outputs[0], Layout::plain), builder.read(step.inputs[0], Layout::plain),
                builder.read(step.inputs[1], Layout::plain)},
               Layout::plain);
  return true;
}

bool build_scatter(Builder& builder, const Step& step) {
  if (!is_constant_scatter(builder.program(), step)) return false;
  const Value &x = builder.value(step.inputs[0]), &indices = builder.value(step.inputs[1]);
  const std::int64_t updated = core::element_count(builder.value(step.inputs[2]).shape);
  const auto length = static_cast<std::size_t>(indices.shape.back());
  const std::int64_t tuples = product(indices.shape, 0, indices.shape.size() - 1);
  const Place runs =
      builder.pack(step.inputs[1], RunsPacker::bytes(tuples),
                   std::make_shared<RunsPacker>(step, x.shape, length, tuples, updated / tuples,
                                                indices.dtype == core::DType::i64));
  const std::size_t bytes = static_cast<std::size_t>(core::element_count(x.shape)) * sizeof(float);
  builder.emit(make_native("runs", 4,
                           [bytes](void* const* operands) {
                             auto* const to = static_cast<float*>(operands[0]);
                             if (operands[0] != operands[1]) std::memcpy(to, operands[1], bytes);
                             const auto* const run = static_cast<const RunsPacker::Run*>(operands[2]);
                             const auto* from = static_cast<const float*>(operands[3]);
                             for (std::int64_t i = 1; i <= run[0].place; ++i) {
                               std::memcpy(to + run[i].place, from,
                                           static_cast<std::size_t>(run[i].floats) * sizeof(float));
                               from += run[i].floats;
                             }
                           }),
               {builder.write(step.outputs[0], Layout::plain), builder.read(step.inputs[0], Layout::plain),
                runs, builder.read(step.inputs[2], Layout::plain)},
               Layout::plain);
  return true;
}

}  // namespace rdquant::runtime::native
