// Maxima of rows of levels, as of all channels of a pixel.
#include "runtime/native/int8/int8.hpp"
#include "runtime/native/rules.hpp"

namespace rdquant::runtime::native {

using core::Shape;
using program::Step;

bool build_int8_rows(Builder& builder, const Step& step) {
  const program::ValueId x = step.inputs[0], y = step.outputs[0];
  const auto* pool = std::get_if<program::Pool>(&step.operation);
  if (pool == nullptr || pool->function != program::PoolFunction::max) return false;
  if (builder.layout(x) != Layout::plain || builder.layout(y) != Layout::plain) return false;
  if (step.outputs.size() > 1 && step.outputs[1] != program::kNone) return false;
  const Shape from = builder.value(x).shape, to = builder.value(y).shape;
  const program::Window& window = pool->window;
  const bool rows = from.size() == 4 && from[3] != 0 && to == Shape{from[0], from[1], from[2], 1} &&
                    window.kernel == Shape{1, from[3]} && window.strides[0] == 1 &&
                    window.pads_begin == Shape{0, 0};
  return rows && reduce_integer_rows(builder, step, program::ReduceFunction::max, from[3]);
}

}  // namespace rdquant::runtime::native
