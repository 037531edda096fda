// Gather and GatherND of numbers of one, four and eight bytes, ScatterND of four.
#include "runtime/native/movement/indices.hpp"

#include <algorithm>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "runtime/native/loops.hpp"
#include "runtime/native/predicates.hpp"
#include "runtime/native/rules.hpp"

namespace rdquant::runtime::native {
namespace {

using core::Shape;
using program::kNone;
using program::Step;
using program::Value;

/// Copies `count` slices of `inner` units from each of `outer` arrays of `size` slices.
struct Slices {
  std::int64_t outer, size, inner, count;
  int threads;

  /// copy(from, to) for each of the arrays of Unit, on the threads.
  template <typename Unit, typename Copy>
  void each(void* to, const void* from, const Copy& copy) const {
    const std::int64_t grain = std::max<std::int64_t>(1, 8192 / std::max<std::int64_t>(1, count * inner));
    share(outer, grain, threads, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t o = begin; o < end; ++o)
        copy(static_cast<const Unit*>(from) + o * size * inner, static_cast<Unit*>(to) + o * count * inner);
    });
  }
};

/// Operands: to, from, indices.
template <typename Unit>
struct GatherWork {
  const Step& step;  // the Program outlives its Executable
  Slices slices;
  bool wide;  ///< indices of 64 bits

  void operator()(void* const* operands) const {
    std::vector<std::int64_t> offsets(static_cast<std::size_t>(slices.count));
    for (std::int64_t i = 0; i < slices.count; ++i) {
      offsets[static_cast<std::size_t>(i)] =
          checked(step, number(operands[2], wide, i), slices.size) * slices.inner;
    }
    slices.template each<Unit>(operands[0], operands[1],
                               [&](const Unit* from, Unit* to) { copy(from, offsets, to); });
  }

 private:
  void copy(const Unit* from, const std::vector<std::int64_t>& offsets, Unit* to) const {
    if (slices.inner == 1) {
      for (std::size_t i = 0; i < offsets.size(); ++i) to[i] = from[offsets[i]];
      return;
    }
    for (const std::int64_t offset : offsets) {
      std::memcpy(to, from + offset, static_cast<std::size_t>(slices.inner) * sizeof(Unit));
      to += slices.inner;
    }
  }
};

/// Constant tuples of indices as runs: places that follow one another, in the order of the tuples.
class RunsPacker final : public Packer {
 public:
  /// Tuples of `length` indices each into an array of `shape`, whose slices have `slice` numbers.
  RunsPacker(const Step& step, Shape shape, std::size_t length, std::int64_t tuples, std::int64_t slice,
             bool wide)
      : step_(step), shape_(std::move(shape)), length_(length), tuples_(tuples), slice_(slice), wide_(wide) {}

  struct Run {
    std::int64_t place, units;
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
      if (count > 0 && runs[count].place + runs[count].units == place) {
        runs[count].units += slice_;
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

/// Runs of constant indices or, where most are short, the place of every number.
class PlacesPacker final : public Packer {
 public:
  /// `numbers` numbers of `tuples` slices; single places where `small`: all of them are 32-bit integers.
  PlacesPacker(RunsPacker runs, std::int64_t tuples, std::int64_t numbers, bool small)
      : runs_(std::move(runs)), tuples_(tuples), numbers_(numbers), small_(small) {}

  static constexpr std::int64_t kShort = 4;  ///< numbers of a run that take longer as a run

  [[nodiscard]] static std::size_t bytes(std::int64_t tuples, std::int64_t numbers) {
    return std::max(RunsPacker::bytes(tuples),
                    sizeof(RunsPacker::Run) + static_cast<std::size_t>(numbers) * sizeof(std::int32_t));
  }

  void pack(const void* from, void* to) const override {
    auto* const header = static_cast<RunsPacker::Run*>(to);
    if (!small_ || numbers_ >= kShort * tuples_) return runs_.pack(from, to);
    std::vector<RunsPacker::Run> runs(static_cast<std::size_t>(tuples_ + 1));
    runs_.pack(from, runs.data());
    const std::int64_t count = runs[0].place;
    if (count * kShort <= numbers_) {
      std::copy_n(runs.begin(), count + 1, header);
      return;
    }
    *header = {0, numbers_};  // no runs
    auto* place = reinterpret_cast<std::int32_t*>(header + 1);
    for (std::int64_t r = 1; r <= count; ++r) {
      const RunsPacker::Run run = runs[static_cast<std::size_t>(r)];
      for (std::int64_t i = 0; i < run.units; ++i) *place++ = static_cast<std::int32_t>(run.place + i);
    }
  }

 private:
  RunsPacker runs_;
  std::int64_t tuples_, numbers_;
  bool small_;
};

/// Slices at constant places. Operands: to, from, places.
template <typename Unit>
struct PlacesWork {
  Slices slices;

  void operator()(void* const* operands) const {
    const auto* const header = static_cast<const RunsPacker::Run*>(operands[2]);
    slices.template each<Unit>(operands[0], operands[1], [&](const Unit* from, Unit* to) {
      if (header->place > 0) return copy_runs(from, header, to);
      const auto* const places = reinterpret_cast<const std::int32_t*>(header + 1);
      for (std::int64_t i = 0; i < header->units; ++i) to[i] = from[places[i]];
    });
  }

 private:
  static void copy_runs(const Unit* from, const RunsPacker::Run* header, Unit* to) {
    const RunsPacker::Run* const end = header + 1 + header->place;
    for (const RunsPacker::Run* run = header + 1; run != end; to += run++->units)
      std::memcpy(to, from + run->place, static_cast<std::size_t>(run->units) * sizeof(Unit));
  }
};

/// Slices that tuples of indices name, one index for each axis behind the first `batch_axes`, which the tuples share.
/// Operands: to, from, indices.
template <typename Unit>
struct GatherNdWork {
  const Step& step;  // the Program outlives its Executable
  Shape shape;
  std::size_t length, batch_axes;
  std::int64_t tuples, slice;
  bool wide;  ///< indices of 64 bits
  int threads;

  void operator()(void* const* operands) const {
    const std::int64_t grain = std::max<std::int64_t>(1, 4096 / std::max<std::int64_t>(1, slice));
    share(tuples, grain, threads, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t t = begin; t < end; ++t) {
        std::memcpy(static_cast<Unit*>(operands[0]) + t * slice,
                    static_cast<const Unit*>(operands[1]) + place_of(operands[2], t),
                    static_cast<std::size_t>(slice) * sizeof(Unit));
      }
    });
  }

 private:
  [[nodiscard]] std::int64_t place_of(const void* indices, std::int64_t tuple) const {
    const std::int64_t each = tuples / product(shape, 0, batch_axes);  // tuples of a batch
    std::int64_t place = tuple / each;
    for (std::size_t i = 0; i < length; ++i) {
      const std::int64_t size = shape[batch_axes + i],
                         at = tuple * static_cast<std::int64_t>(length) + static_cast<std::int64_t>(i);
      place = place * size + checked(step, number(indices, wide, at), size);
    }
    return place * slice;
  }
};

/// Whether slices of some numbers of one, four or eight bytes are taken, by integers.
bool takes_indices(const Builder& builder, const Step& step) {
  const Value &x = builder.value(step.inputs[0]), &indices = builder.value(step.inputs[1]);
  const std::size_t size = core::size_of(x.dtype);
  return (size == 1 || size == sizeof(float) || size == 2 * sizeof(float)) &&
         (indices.dtype == core::DType::i64 || indices.dtype == core::DType::i32) &&
         core::element_count(builder.value(step.outputs[0]).shape) != 0;
}

/// Units that are as long as one number: bytes of one, else floats.
std::int64_t units_of(const Value& x) {
  const std::size_t size = core::size_of(x.dtype);
  return size == 1 ? 1 : static_cast<std::int64_t>(size / sizeof(float));
}

/// Work<Unit>{arguments…} by the units of what a step reads first.
template <template <typename> typename Work, typename... Arguments>
std::shared_ptr<const Kernel> make_move(std::string name, const Value& x, Arguments... arguments) {
  if (core::size_of(x.dtype) == 1) return make_native(std::move(name), 3, Work<std::uint8_t>{arguments...});
  return make_native(std::move(name), 3, Work<float>{arguments...});
}

/// Slices that constant tuples of `length` indices into an array of `shape` name.
void emit_places(Builder& builder, const Step& step, const Slices& slices, const Shape& shape,
                 std::size_t length) {
  const std::int64_t numbers = slices.count * slices.inner;
  const bool small = slices.size * slices.inner <= std::numeric_limits<std::int32_t>::max();
  const RunsPacker runs(step, shape, length, slices.count, slices.inner,
                        builder.value(step.inputs[1]).dtype == core::DType::i64);
  const Place places = builder.pack(step.inputs[1], PlacesPacker::bytes(slices.count, numbers),
                                    std::make_shared<PlacesPacker>(runs, slices.count, numbers, small));
  builder.emit(
      make_move<PlacesWork>("places", builder.value(step.inputs[0]), slices),
      {builder.write(step.outputs[0], Layout::plain), builder.read(step.inputs[0], Layout::plain), places},
      Layout::plain);
}

}  // namespace

bool build_gather(Builder& builder, const Step& step) {
  const auto* op = std::get_if<program::Gather>(&step.operation);
  if (op == nullptr || !takes_indices(builder, step)) return false;
  const Value &x = builder.value(step.inputs[0]), &indices = builder.value(step.inputs[1]);
  const auto axis = static_cast<std::size_t>(op->axis);
  const Slices slices{product(x.shape, 0, axis), x.shape[axis],
                      product(x.shape, axis + 1, x.shape.size()) * units_of(x),
                      core::element_count(indices.shape), builder.threads()};
  if (indices.role == program::Role::constant) {
    emit_places(builder, step, slices, {slices.size, slices.inner}, 1);
    return true;
  }
  builder.emit(make_move<GatherWork>("copy", x, std::cref(step), slices, indices.dtype == core::DType::i64),
               {builder.write(step.outputs[0], Layout::plain), builder.read(step.inputs[0], Layout::plain),
                builder.read(step.inputs[1], Layout::plain)},
               Layout::plain);
  return true;
}

bool build_gather_nd(Builder& builder, const Step& step) {
  const auto* op = std::get_if<program::GatherNd>(&step.operation);
  if (op == nullptr || !takes_indices(builder, step)) return false;
  const Value &x = builder.value(step.inputs[0]), &indices = builder.value(step.inputs[1]);
  Shape shape = x.shape;
  shape.push_back(units_of(x));
  const auto length = static_cast<std::size_t>(indices.shape.back());
  const auto batch_axes = static_cast<std::size_t>(op->batch_axes);
  const std::int64_t tuples = product(indices.shape, 0, indices.shape.size() - 1);
  const std::int64_t slice = product(shape, batch_axes + length, shape.size());
  if (indices.role == program::Role::constant && batch_axes == 0) {
    const Slices slices{1, product(shape, 0, shape.size()) / slice, slice, tuples, builder.threads()};
    emit_places(builder, step, slices, shape, length);
    return true;
  }
  builder.emit(make_move<GatherNdWork>("copy", x, std::cref(step), shape, length, batch_axes, tuples, slice,
                                       indices.dtype == core::DType::i64, builder.threads()),
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
                                           static_cast<std::size_t>(run[i].units) * sizeof(float));
                               from += run[i].units;
                             }
                           }),
               {builder.write(step.outputs[0], Layout::plain), builder.read(step.inputs[0], Layout::plain),
                runs, builder.read(step.inputs[2], Layout::plain)},
               Layout::plain);
  return true;
}

}  // namespace rdquant::runtime::native
