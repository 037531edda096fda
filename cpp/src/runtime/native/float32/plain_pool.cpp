// Windows over plain arrays of up to three axes, and where their maxima lie.
#include "runtime/kernels/float32/plain_pool/plain_pool.hpp"

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>

#include "runtime/native/float32/convolution.hpp"
#include "runtime/native/loops.hpp"
#include "runtime/native/rules.hpp"

namespace rdquant::runtime::native {
namespace {

using core::Shape;
using kernels::Index;
using kernels::PoolAxis;
using program::kNone;
using program::PoolFunction;
using program::Step;

std::optional<kernels::Pooled> pooled_by(const program::Pool& pool) {
  switch (pool.function) {
    case PoolFunction::max:
      return kernels::Pooled::max;
    case PoolFunction::average:
      return kernels::Pooled::average;
    case PoolFunction::lp:
      break;
  }
  if (pool.p == 1) return kernels::Pooled::l1;
  if (pool.p == 2) return kernels::Pooled::l2;
  return std::nullopt;
}

/// Whether the window is one element and moves by one along an axis.
bool is_still(const PoolAxis& axis) {
  return axis.kernel == 1 && axis.stride == 1 && axis.before == 0 && axis.in == axis.out;
}

/// Two axes along which windows are still are one to vectors.
void merge_columns(kernels::PlainPoolArgs& args) {
  PoolAxis &rows = args.axes[1], &columns = args.axes[2];
  if (!is_still(rows) || !is_still(columns)) return;
  columns.in = columns.out = rows.in * columns.in;
  rows = args.axes[0];
  args.axes[0] = {};
}

kernels::PlainPoolArgs arguments_of(const program::Pool& pool, kernels::Pooled function, const Shape& x,
                                    const Shape& y) {
  kernels::PlainPoolArgs args;
  args.function = function;
  args.count_pad = pool.count_include_pad && function == kernels::Pooled::average;
  args.column_major = pool.column_major_indices;
  const program::Window& window = pool.window;
  const std::size_t axes = window.kernel.size();
  for (std::size_t i = 0; i < axes; ++i) {
    const Index counted = pool.counted_pads_end.empty() ? 0 : pool.counted_pads_end[i];
    args.axes[3 - axes + i] = {
        x[i + 2], y[i + 2], window.kernel[i], window.strides[i], window.dilations[i], window.pads_begin[i],
        counted};
  }
  return args;
}

/// Elements of a result that one thread at least makes.
Index rows_per_thread(const kernels::PlainPoolArgs& args) {
  const Index taps = args.axes[0].kernel * args.axes[1].kernel + args.axes[2].kernel;
  return std::max<Index>(1, 8192 / (args.axes[2].out * taps));
}

/// Operands: x, y, indices if wanted, scratch.
struct PlainPoolWork {
  kernels::PlainPoolArgs args;
  Index rows;  ///< of all results
  bool places;
  int threads;

  void operator()(void* const* operand) const {
    const kernels::PlainPool& own = kernels::plain_pool(float_kernels().isa);
    const Index each = kernels::plain_pool_scratch(args.axes[2], own.block);
    const auto* const x = static_cast<const float*>(operand[0]);
    auto* const y = static_cast<float*>(operand[1]);
    auto* const scratch = static_cast<float*>(operand[places ? 3 : 2]);
    share_ranked(rows, rows_per_thread(args), threads, [&](Index begin, Index end, int rank) {
      if (places) {
        own.places(args, x, y, static_cast<std::int64_t*>(operand[2]), scratch + rank * each, begin, end);
      } else {
        own.pool(args, x, y, scratch + rank * each, begin, end);
      }
    });
  }
};

/// Whether there is one window, as large as the planes.
bool covers_planes(const kernels::PlainPoolArgs& args) {
  return std::ranges::all_of(args.axes, [](const PoolAxis& axis) {
    return axis.kernel == axis.in && axis.out == 1 && axis.before == 0 && axis.dilation == 1;
  });
}

program::ReduceFunction reduction_of(kernels::Pooled function) {
  switch (function) {
    case kernels::Pooled::max:
      return program::ReduceFunction::max;
    case kernels::Pooled::l1:
      return program::ReduceFunction::l1;
    case kernels::Pooled::l2:
      return program::ReduceFunction::l2;
    default:
      return program::ReduceFunction::mean;
  }
}

}  // namespace

bool build_plain_pool(Builder& builder, const Step& step) {
  const auto* pool = std::get_if<program::Pool>(&step.operation);
  if (pool == nullptr || builder.value(step.inputs[0]).dtype != core::DType::f32) return false;
  const Shape &x = builder.value(step.inputs[0]).shape, &y = builder.value(step.outputs[0]).shape;
  const auto function = pooled_by(*pool);
  if (!function || x.size() < 3 || x.size() > 5 || core::element_count(y) == 0) return false;
  kernels::PlainPoolArgs args = arguments_of(*pool, *function, x, y);
  const Index plane = args.axes[0].in * args.axes[1].in * args.axes[2].in;
  if (plane == 0 || plane >= std::numeric_limits<std::int32_t>::max()) return false;
  const bool places = step.outputs.size() > 1 && step.outputs[1] != kNone;
  if (!places && covers_planes(args)) {
    reduce_rows(builder, step, reduction_of(*function), plane);
    return true;
  }
  if (!places) merge_columns(args);
  const int threads = builder.threads();
  const Index rows = core::element_count(y) / args.axes[2].out;
  const Index scratch = kernels::plain_pool_scratch(args.axes[2], block_size());
  std::vector<Place> operands{builder.read(step.inputs[0], Layout::plain),
                              builder.write(step.outputs[0], Layout::plain)};
  if (places) operands.push_back(builder.write(step.outputs[1], Layout::plain));
  operands.push_back(builder.scratch(static_cast<std::size_t>(threads * scratch) * sizeof(float)));
  const std::size_t count = operands.size();
  builder.emit(make_native(with_isa(places ? "places" : "plain pool"), count,
                           PlainPoolWork{args, rows, places, threads}),
               std::move(operands), Layout::plain);
  return true;
}

}  // namespace rdquant::runtime::native
