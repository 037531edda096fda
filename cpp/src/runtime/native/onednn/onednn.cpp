#include "runtime/native/onednn/memory.hpp"
#include "runtime/native/onednn/openmp.hpp"
#include "runtime/native/onednn/rules.hpp"
#include "runtime/native/suppliers.hpp"

namespace rdquant::runtime::native {

bool build_onednn(Builder& builder, const program::Step& step) {
  const onednn::OpenMpThreads divided(builder.threads());  // work is divided when a primitive is made
  return onednn::guarded(
      [&] { return onednn::build_convolution(builder, step) || onednn::build_matmul(builder, step); });
}

}  // namespace rdquant::runtime::native
