// Functions of one number.
#include <algorithm>

#include "runtime/native/float32/convolution.hpp"
#include "runtime/native/loops.hpp"
#include "runtime/native/rules.hpp"

namespace rdquant::runtime::native {

using core::Shape;
using program::Step;

/// Functions that our kernels know; not where padding lanes would have to be cleared behind them.
bool build_unary(Builder& builder, const Step& step) {
  if (!is_plain_unary(builder.program(), step)) return false;
  const Layout layout = builder.layout(step.outputs[0]);
  const auto activation = kernel_activation(std::get<program::Unary>(step.operation).activation);
  const Shape& shape = builder.value(step.outputs[0]).shape;
  if (!activation || (layout == Layout::blocked && shape[1] % block_size() != 0)) return false;
  constexpr std::int64_t kPiece = 1024;
  const kernels::Kernels& own = float_kernels();
  builder.emit(
      make_native("unary " + std::string(core::isa_name(own.isa)), 2,
                  [&own, f = *activation, n = core::element_count(shape),
                   threads = builder.threads()](void* const* operands) {
                    share((n + kPiece - 1) / kPiece, 4, threads, [&](std::int64_t begin, std::int64_t end) {
                      own.unary(f, static_cast<const float*>(operands[0]), static_cast<float*>(operands[1]),
                                begin * kPiece, std::min(n, end * kPiece));
                    });
                  }),
      {builder.read(step.inputs[0], layout), builder.write(step.outputs[0], layout)}, layout);
  return true;
}

}  // namespace rdquant::runtime::native
