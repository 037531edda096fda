// Running sums and products.
#include "runtime/kernels/float32/cumulative/cumulative.hpp"

#include <algorithm>
#include <utility>

#include "runtime/native/float32/convolution.hpp"
#include "runtime/native/loops.hpp"
#include "runtime/native/rules.hpp"

namespace rdquant::runtime::native {
namespace {

/// Over an array as [outer][length][inner].
struct CumulativeWork {
  kernels::CumulativeArgs args;
  kernels::Index outer, inner;
  int threads;

  static constexpr kernels::Index kColumns = 128;   ///< that one piece of work has
  static constexpr kernels::Index kNumbers = 4096;  ///< that are worth a thread

  void operator()(void* const* operand) const {
    const kernels::Cumulative& own = kernels::cumulative(float_kernels().isa);
    const auto* const x = static_cast<const float*>(operand[0]);
    auto* const y = static_cast<float*>(operand[1]);
    const kernels::Index pieces = kernels::divide(inner, kColumns);
    const kernels::Index grain =
        std::max<kernels::Index>(1, kNumbers / (args.length * std::min(inner, kColumns)));
    share(outer * pieces, grain, threads, [&](kernels::Index begin, kernels::Index end) {
      if (inner == 1) return own.rows(args, x, y, begin, end);
      for (kernels::Index i = begin; i < end; ++i) {
        const kernels::Index slice = i / pieces * args.length * inner, first = i % pieces * kColumns;
        own.columns(args, x + slice, y + slice, inner, first, std::min(inner, first + kColumns));
      }
    });
  }
};

}  // namespace

bool build_cumulative(Builder& builder, const program::Step& step) {
  const auto* sum = std::get_if<program::CumulativeSum>(&step.operation);
  if (sum == nullptr || !all_float(builder.program(), step)) return false;
  const core::Shape& shape = builder.value(step.inputs[0]).shape;
  if (core::element_count(shape) == 0) return false;
  CumulativeWork work{{1, sum->exclusive, sum->reverse, sum->product}, 1, 1, builder.threads()};
  const auto axis = static_cast<std::size_t>(sum->axis);
  for (std::size_t i = 0; i < shape.size(); ++i)
    (i < axis ? work.outer : i > axis ? work.inner : work.args.length) *= shape[i];
  builder.emit(make_native(with_isa("cumulative"), 2, work),
               {builder.read(step.inputs[0], Layout::plain), builder.write(step.outputs[0], Layout::plain)},
               Layout::plain);
  return true;
}

}  // namespace rdquant::runtime::native
