#include "runtime/native/onednn/memory.hpp"
#include "runtime/native/onednn/openmp.hpp"
#include "runtime/native/onednn/rules.hpp"
#include "runtime/native/suppliers.hpp"

namespace rdquant::runtime::native {

bool build_onednn(Builder& builder, const program::Step& step) {
  static constexpr Rule kRules[] = {
      onednn::build_convolution, onednn::build_matmul, onednn::build_pool,    onednn::build_mean,
      onednn::build_unary,       onednn::build_binary, onednn::build_softmax, onednn::build_normalization};
  const onednn::OpenMpThreads divided(builder.threads());  // work is divided when a primitive is made
  return onednn::guarded([&] {
    for (const Rule rule : kRules) {
      if (rule(builder, step)) return true;
    }
    return false;
  });
}

}  // namespace rdquant::runtime::native
