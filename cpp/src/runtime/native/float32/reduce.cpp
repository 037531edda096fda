// Sums, means and extremes over axes that lie side by side.
#include "runtime/kernels/float32/reduce/reduce.hpp"

#include <algorithm>
#include <optional>
#include <utility>

#include "runtime/native/float32/convolution.hpp"
#include "runtime/native/loops.hpp"
#include "runtime/native/rules.hpp"

namespace rdquant::runtime::native {
namespace {

using core::Shape;
using kernels::Index;
using kernels::ReduceArgs;
using kernels::Reduction;
using program::ReduceFunction;
using program::Step;

constexpr Index kReduced = 8192;  ///< floats that are worth a thread

const kernels::Reduce& reduce_kernels() { return kernels::reduce(float_kernels().isa); }

/// An array as [outer][length][inner], reduced along the middle.
struct Axes {
  Index outer = 1, length = 1, inner = 1;
};

/// None where an axis that stays lies between two that go.
std::optional<Axes> axes_of(const Shape& shape, const std::vector<std::int64_t>& reduced) {
  Axes axes;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == 1) continue;
    const bool goes = std::ranges::find(reduced, static_cast<std::int64_t>(i)) != reduced.end();
    if (goes && axes.inner > 1) return std::nullopt;
    if (goes) {
      axes.length *= shape[i];
    } else {
      (axes.length > 1 ? axes.inner : axes.outer) *= shape[i];
    }
  }
  return axes;
}

std::optional<ReduceArgs> arguments_of(ReduceFunction function, Index length) {
  switch (function) {
    case ReduceFunction::sum:
      return ReduceArgs{Reduction::sum, length, 1, false};
    case ReduceFunction::mean:
      return ReduceArgs{Reduction::sum, length, 1.0F / static_cast<float>(length), false};
    case ReduceFunction::l1:
      return ReduceArgs{Reduction::absolute, length, 1, false};
    case ReduceFunction::sum_square:
      return ReduceArgs{Reduction::square, length, 1, false};
    case ReduceFunction::l2:
      return ReduceArgs{Reduction::square, length, 1, true};
    case ReduceFunction::min:
      return ReduceArgs{Reduction::min, length, 1, false};
    case ReduceFunction::max:
      return ReduceArgs{Reduction::max, length, 1, false};
    default:
      return std::nullopt;
  }
}

struct RowsWork {
  ReduceArgs args;
  Index outer;
  int threads;

  void operator()(void* const* operand) const {
    share(outer, std::max<Index>(1, kReduced / args.length), threads, [&](Index begin, Index end) {
      reduce_kernels().rows(args, static_cast<const float*>(operand[0]), static_cast<float*>(operand[1]),
                            begin, end);
    });
  }
};

struct ColumnsWork {
  ReduceArgs args;
  Index outer, inner;
  int threads;

  static constexpr Index kColumns = 256;  ///< that one piece of work has

  void operator()(void* const* operand) const {
    const Index pieces = kernels::divide(inner, kColumns);
    const Index grain = std::max<Index>(1, kReduced / (args.length * std::min(inner, kColumns)));
    share(outer * pieces, grain, threads, [&](Index begin, Index end) {
      for (Index i = begin; i < end; ++i) {
        const Index slice = i / pieces, first = i % pieces * kColumns;
        reduce_kernels().columns(args, static_cast<const float*>(operand[0]) + slice * args.length * inner,
                                 static_cast<float*>(operand[1]) + slice * inner, inner, first,
                                 std::min(inner, first + kColumns));
      }
    });
  }
};

}  // namespace

bool build_reduce(Builder& builder, const Step& step) {
  const auto* reduce = std::get_if<program::Reduce>(&step.operation);
  if (reduce == nullptr || !all_float(builder.program(), step)) return false;
  const Shape& shape = builder.value(step.inputs[0]).shape;
  if (core::element_count(shape) == 0) return false;
  const auto axes = axes_of(shape, reduce->axes);
  if (!axes) return false;
  const auto args = arguments_of(reduce->function, axes->length);
  if (!args) return false;
  const int threads = builder.threads();
  auto kernel = axes->inner > 1 ? make_native(with_isa("columns"), 2,
                                              ColumnsWork{*args, axes->outer, axes->inner, threads})
                                : make_native(with_isa("rows"), 2, RowsWork{*args, axes->outer, threads});
  builder.emit(std::move(kernel),
               {builder.read(step.inputs[0], Layout::plain), builder.write(step.outputs[0], Layout::plain)},
               Layout::plain);
  return true;
}

}  // namespace rdquant::runtime::native
