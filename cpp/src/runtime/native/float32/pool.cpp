// Maxima and means under windows, and means of whole images, on images in blocks.
#include <algorithm>
#include <span>
#include <string>
#include <utility>

#include "runtime/native/float32/convolution.hpp"
#include "runtime/native/loops.hpp"
#include "runtime/native/rules.hpp"

namespace rdquant::runtime::native {
namespace {

using core::Shape;
using kernels::Index;
using program::Step;
using program::ValueId;

/// One number per channel and image, plain.
void emit_mean(Builder& builder, ValueId x, ValueId y) {
  const Shape shape = as_image(builder.value(x).shape);
  const Index n = shape[0], c = shape[1], area = shape[2] * shape[3];
  builder.emit(make_native(with_isa("mean"), 2,
                           [n, c, area, threads = builder.threads()](void* const* operand) {
                             const kernels::Kernels& own = float_kernels();
                             const Index blocks = kernels::divide(c, own.block);
                             share(n * blocks, 1, threads, [&](Index begin, Index end) {
                               own.global_average(static_cast<const float*>(operand[0]),
                                                  blocks * own.block * area, static_cast<float*>(operand[1]),
                                                  c, c, area, begin, end);
                             });
                           }),
               {builder.read_as(x, shape, Layout::blocked), builder.write(y, Layout::plain)}, Layout::plain);
}

bool covers_image(const program::Pool& pool, const Shape& x) {
  const auto all = [](const std::vector<std::int64_t>& sizes, std::int64_t what) {
    return std::ranges::all_of(sizes, [&](std::int64_t size) { return size == what; });
  };
  const program::Window& window = pool.window;
  return pool.function == program::PoolFunction::average && all(window.pads_begin, 0) &&
         all(window.pads_end, 0) && std::ranges::equal(window.kernel, std::span(x).subspan(2)) &&
         all(window.dilations, 1);
}

/// Whether windows over a plain image take less time than to bring it into blocks first, which rows that fill no vector
/// are worth.
bool plain_pays(const Builder& builder, ValueId x) {
  const Shape& shape = builder.value(x).shape;
  return builder.layout(x) != Layout::blocked && (shape[1] < block_size() || 2 * shape.back() > block_size());
}

}  // namespace

bool build_pool(Builder& builder, const Step& step) {
  if (!is_plain_pool(builder.program(), step)) return false;
  const auto& pool = std::get<program::Pool>(step.operation);
  const ValueId x = step.inputs[0], y = step.outputs[0];
  if (core::element_count(builder.value(y).shape) == 0) return false;
  if (covers_image(pool, builder.value(x).shape)) {
    emit_mean(builder, x, y);
    return true;
  }
  if (plain_pays(builder, x) && build_plain_pool(builder, step)) return true;
  kernels::PoolShape shape = pool_shape_of(builder, step, pool.window);
  shape.average = pool.function == program::PoolFunction::average;
  shape.count_pad = shape.average && pool.count_include_pad;
  if (shape.count_pad) {
    shape.bottom = pool.counted_pads_end.size() > 1 ? pool.counted_pads_end[0] : 0;
    shape.right = pool.counted_pads_end.back();
  }
  builder.emit(make_native(with_isa("pool"), 2,
                           [shape, threads = builder.threads()](void* const* operand) {
                             const kernels::Kernels& own = float_kernels();
                             const Index channels = kernels::divide(shape.c, own.block) * own.block;
                             share(shape.n * kernels::divide(shape.c, own.block) * shape.oh, 1, threads,
                                   [&](Index begin, Index end) {
                                     own.pool(shape, static_cast<const float*>(operand[0]),
                                              channels * shape.h * shape.w, static_cast<float*>(operand[1]),
                                              channels * shape.oh * shape.ow, begin, end);
                                   });
                           }),
               {builder.read_as(x, as_image(builder.value(x).shape), Layout::blocked),
                builder.write_as(y, as_image(builder.value(y).shape), Layout::blocked)},
               Layout::blocked);
  return true;
}

bool build_mean(Builder& builder, const Step& step) {
  const auto* reduce = std::get_if<program::Reduce>(&step.operation);
  if (reduce == nullptr || reduce->function != program::ReduceFunction::mean) return false;
  const program::Value& x = builder.value(step.inputs[0]);
  if (x.dtype != core::DType::f32 || x.shape.size() != 4 || reduce->axes != std::vector<std::int64_t>{2, 3} ||
      core::element_count(x.shape) == 0 || builder.layout(step.inputs[0]) != Layout::blocked) {
    return false;
  }
  emit_mean(builder, step.inputs[0], step.outputs[0]);
  return true;
}

}  // namespace rdquant::runtime::native
