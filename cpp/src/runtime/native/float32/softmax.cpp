#include <algorithm>

#include "runtime/native/float32/convolution.hpp"
#include "runtime/native/loops.hpp"
#include "runtime/native/rules.hpp"

namespace rdquant::runtime::native {
namespace {

using program::Step;

/// Softmax over an axis with others behind it: columns side by side.
struct ColumnSoftmax {
  const kernels::Kernels& kernels;
  std::int64_t outer, length, inner;
  int threads;

  static constexpr std::int64_t kColumns = 256;

  void operator()(void* const* operands) const {
    const auto* x = static_cast<const float*>(operands[0]);
    auto* y = static_cast<float*>(operands[1]);
    const std::int64_t pieces = (inner + kColumns - 1) / kColumns;
    share(outer * pieces, 4, threads, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const std::int64_t at = i / pieces * length * inner, first = i % pieces * kColumns;
        kernels.softmax_columns(x + at, y + at, length, inner, first, std::min(inner, first + kColumns));
      }
    });
  }
};

}  // namespace

bool build_softmax(Builder& builder, const Step& step) {
  const auto* softmax = std::get_if<program::Softmax>(&step.operation);
  if (softmax == nullptr || !all_float(builder.program(), step)) return false;
  const auto& shape = builder.value(step.inputs[0]).shape;
  const auto axis = static_cast<std::ptrdiff_t>(softmax->axis);
  const std::int64_t inner = core::element_count({shape.begin() + axis + 1, shape.end()});
  if (softmax->logarithm || inner < 16) return false;
  const std::int64_t outer = core::element_count({shape.begin(), shape.begin() + axis});
  const ColumnSoftmax work{float_kernels(), outer, shape[static_cast<std::size_t>(axis)], inner,
                           builder.threads()};
  builder.emit(make_native("columns " + std::string(core::isa_name(float_kernels().isa)), 2, work),
               {builder.read(step.inputs[0], Layout::plain), builder.write(step.outputs[0], Layout::plain)},
               Layout::plain);
  return true;
}

}  // namespace rdquant::runtime::native
