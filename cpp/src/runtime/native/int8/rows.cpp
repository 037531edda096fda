// Maxima of rows of levels, as of all channels of a pixel.
#include <algorithm>
#include <cstdint>
#include <utility>

#include "runtime/native/int8/int8.hpp"
#include "runtime/native/loops.hpp"
#include "runtime/native/rules.hpp"

namespace rdquant::runtime::native {
namespace {

using kernels::Index;
using program::Step;
using program::ValueId;

template <typename T>
void maxima(const void* levels, void* made, Index length, Index begin, Index end) {
  const auto* from = static_cast<const T*>(levels) + begin * length;
  for (Index row = begin; row < end; ++row, from += length) {
    T most = from[0];
    for (Index i = 1; i < length; ++i) most = std::max(most, from[i]);
    static_cast<T*>(made)[row] = most;
  }
}

}  // namespace

bool build_int8_rows(Builder& builder, const Step& step) {
  const ValueId x = step.inputs[0], y = step.outputs[0];
  const auto* pool = std::get_if<program::Pool>(&step.operation);
  if (pool == nullptr || pool->function != program::PoolFunction::max) return false;
  if (builder.layout(x) != Layout::plain || builder.layout(y) != Layout::plain) return false;
  const core::Shape &from = builder.value(x).shape, &to = builder.value(y).shape;
  const program::Window& window = pool->window;
  const bool rows = from.size() == 4 && window.kernel == core::Shape{1, from[3]} &&
                    to == core::Shape{from[0], from[1], from[2], 1} && window.pads_begin[1] == 0;
  if (!rows || from[3] == 0 || (step.outputs.size() > 1 && step.outputs[1] != kNone)) return false;
  const Index length = from[3], count = core::element_count(to);
  const auto kernel = builder.value(x).dtype == core::DType::i8 ? maxima<std::int8_t> : maxima<std::uint8_t>;
  auto work = [=, threads = builder.threads()](void* const* operand) {
    share(count, std::max<Index>(1, kGrain / length), threads,
          [&](Index begin, Index end) { kernel(operand[0], operand[1], length, begin, end); });
  };
  builder.emit(make_native("rows", 2, std::move(work)),
               {builder.read(x, Layout::plain), builder.write(y, Layout::plain)}, Layout::plain);
  return true;
}

}  // namespace rdquant::runtime::native
