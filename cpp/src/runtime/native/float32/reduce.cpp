// Sums, means and extremes, and where extremes stand.
#include "runtime/kernels/float32/reduce/reduce.hpp"

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>

#include "runtime/native/float32/convolution.hpp"
#include "runtime/native/loops.hpp"
#include "runtime/native/passes.hpp"
#include "runtime/native/rules.hpp"

namespace rdquant::runtime::native {
namespace {

using core::Shape;
using kernels::ArgArgs;
using kernels::Index;
using kernels::ReduceArgs;
using kernels::Reduction;
using program::ReduceFunction;
using program::Step;

const kernels::Reduce& reduce_kernels() { return kernels::reduce(float_kernels().isa); }

/// What one pass over all numbers does.
std::optional<ReduceArgs> arguments_of(ReduceFunction function, Index length) {
  using kernels::Finish;
  switch (function) {
    case ReduceFunction::sum:
      return ReduceArgs{Reduction::sum, length};
    case ReduceFunction::mean:
      return ReduceArgs{Reduction::sum, length, 1.0F / static_cast<float>(length)};
    case ReduceFunction::l1:
      return ReduceArgs{Reduction::absolute, length};
    case ReduceFunction::sum_square:
      return ReduceArgs{Reduction::square, length};
    case ReduceFunction::l2:
      return ReduceArgs{Reduction::square, length, 1, Finish::root};
    case ReduceFunction::log_sum:
      return ReduceArgs{Reduction::sum, length, 1, Finish::logarithm};
    case ReduceFunction::log_sum_exp:
      return ReduceArgs{Reduction::log_sum_exp, length};
    case ReduceFunction::prod:
      return ReduceArgs{Reduction::product, length};
    case ReduceFunction::min:
      return ReduceArgs{Reduction::min, length};
    case ReduceFunction::max:
      return ReduceArgs{Reduction::max, length};
    default:
      return std::nullopt;
  }
}

/// What pass `number` of `passes` does, so that all do what `whole` does.
ReduceArgs part_of(const ReduceArgs& whole, const std::vector<Pass>& passes, std::size_t number) {
  ReduceArgs args = whole;
  args.length = passes[number].length;
  const bool sums = whole.function == Reduction::absolute || whole.function == Reduction::square;
  if (number > 0 && sums) args.function = Reduction::sum;  // of what the first pass made
  if (number + 1 < passes.size()) {
    args.factor = 1;
    args.finish = kernels::Finish::none;
  }
  return args;
}

/// Operands: from, to.
struct ReduceWork {
  ReduceArgs args;
  Pass pass;
  int threads;

  void operator()(void* const* operand) const {
    const auto* const from = static_cast<const float*>(operand[0]);
    auto* const to = static_cast<float*>(operand[1]);
    share_pass(pass, threads, [&](Index slice, Index begin, Index end) {
      if (pass.inner == 1) return reduce_kernels().rows(args, from, to, begin, end);
      reduce_kernels().columns(args, from + slice * pass.length * pass.inner, to + slice * pass.inner,
                               pass.inner, begin, end);
    });
  }
};

/// Operands: from, to.
struct ArgWork {
  ArgArgs args;
  Pass pass;
  int threads;

  void operator()(void* const* operand) const {
    const auto* const from = static_cast<const float*>(operand[0]);
    auto* const to = static_cast<std::int64_t*>(operand[1]);
    share_pass(pass, threads, [&](Index slice, Index begin, Index end) {
      if (pass.inner == 1) return reduce_kernels().arg_rows(args, from, to, begin, end);
      reduce_kernels().arg_columns(args, from + slice * pass.length * pass.inner, to + slice * pass.inner,
                                   pass.inner, begin, end);
    });
  }
};

std::string name_of(const Pass& pass) { return with_isa(pass.inner > 1 ? "columns" : "rows"); }

/// True where all pixels of images in blocks go into one, and lanes past the last channel stay zero.
bool takes_whole_images(const Builder& builder, const Step& step, const program::Reduce& reduce) {
  const Shape& x = builder.value(step.inputs[0]).shape;
  if (builder.layout(step.inputs[0]) != Layout::blocked || x[2] * x[3] == 1) return false;
  if (reduce.function == ReduceFunction::log_sum || reduce.function == ReduceFunction::log_sum_exp)
    return false;
  const auto goes = [&](std::int64_t axis) {
    return std::ranges::find(reduce.axes, axis) != reduce.axes.end();
  };
  return !goes(0) && !goes(1) && (goes(2) || x[2] == 1) && (goes(3) || x[3] == 1);
}

/// The columns of a block are its lanes.
void reduce_images(Builder& builder, const Step& step, const ReduceArgs& args) {
  const Shape& x = builder.value(step.inputs[0]).shape;
  const Pass lanes{x[0] * kernels::divide(x[1], block_size()), args.length, block_size()};
  builder.emit(make_native(with_isa("lanes"), 2, ReduceWork{args, lanes, builder.threads()}),
               {builder.read(step.inputs[0], Layout::blocked),
                builder.write_as(step.outputs[0], {x[0], x[1], 1, 1}, Layout::blocked)},
               Layout::blocked);
}

}  // namespace

void reduce_rows(Builder& builder, const Step& step, ReduceFunction function, std::int64_t length) {
  const Pass pass{core::element_count(builder.value(step.outputs[0]).shape), length, 1};
  builder.emit(
      make_native(name_of(pass), 2, ReduceWork{*arguments_of(function, length), pass, builder.threads()}),
      {builder.read(step.inputs[0], Layout::plain), builder.write(step.outputs[0], Layout::plain)},
      Layout::plain);
}

bool build_reduce(Builder& builder, const Step& step) {
  const auto* reduce = std::get_if<program::Reduce>(&step.operation);
  if (reduce == nullptr || !all_float(builder.program(), step)) return false;
  const Shape& shape = builder.value(step.inputs[0]).shape;
  if (core::element_count(shape) == 0) return false;
  if (takes_whole_images(builder, step, *reduce)) {
    const auto args = arguments_of(reduce->function, shape[2] * shape[3]);
    if (args) reduce_images(builder, step, *args);
    if (args) return true;
  }
  const std::vector<Pass> passes = passes_of(shape, reduce->axes);
  const auto args = arguments_of(reduce->function, core::element_count(shape) / passes.back().results());
  // a product of products may leave the range of floats on the way
  if (!args || (args->function == Reduction::product && passes.size() > 1)) return false;
  Place from = builder.read(step.inputs[0], Layout::plain);
  for (std::size_t i = 0; i < passes.size(); ++i) {
    const Pass& pass = passes[i];
    auto kernel =
        make_native(name_of(pass), 2, ReduceWork{part_of(*args, passes, i), pass, builder.threads()});
    if (i + 1 == passes.size()) {
      builder.emit(std::move(kernel), {from, builder.write(step.outputs[0], Layout::plain)}, Layout::plain);
    } else {
      const Place to = builder.scratch(static_cast<std::size_t>(pass.results()) * sizeof(float));
      builder.prepare(std::move(kernel), {from, to});
      from = to;
    }
  }
  return true;
}

bool build_arg_extreme(Builder& builder, const Step& step) {
  const auto* arg = std::get_if<program::ArgExtreme>(&step.operation);
  if (arg == nullptr || builder.value(step.inputs[0]).dtype != core::DType::f32) return false;
  const Shape& shape = builder.value(step.inputs[0]).shape;
  const Index length = shape.empty() ? 1 : shape[static_cast<std::size_t>(arg->axis)];
  if (core::element_count(shape) == 0 || length > std::numeric_limits<std::int32_t>::max()) return false;
  const Pass pass = passes_of(shape, {arg->axis}).front();
  builder.emit(
      make_native(name_of(pass), 2, ArgWork{{arg->largest, length, arg->last}, pass, builder.threads()}),
      {builder.read(step.inputs[0], Layout::plain), builder.write(step.outputs[0], Layout::plain)},
      Layout::plain);
  return true;
}

}  // namespace rdquant::runtime::native
