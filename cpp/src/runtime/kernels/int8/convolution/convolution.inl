// Int8 convolutions: which way a shape is run.
#include "runtime/kernels/int8/convolution/dense.inl"
#include "runtime/kernels/int8/convolution/depthwise/depthwise.inl"
#include "runtime/kernels/int8/tables.hpp"

namespace rdquant::runtime::kernels {
namespace {

Int8Plan plan_int8(const ConvShape& s, Index threads) {
  return is_depthwise(s) ? plan_depthwise(s, threads) : plan_dense(s, threads);
}

void pack_int8(const Int8Plan& plan, const std::int8_t* weights, std::byte* packed, Index begin, Index end) {
  (plan.depthwise ? pack_depthwise : pack_dense)(plan, weights, packed, begin, end);
}

void run_int8(const Int8Plan& plan, const Int8ConvArgs& args, Index begin, Index end) {
  (plan.depthwise ? run_depthwise : run_dense)(plan, args, begin, end);
}

}  // namespace

namespace RDQUANT_KERNELS_ISA {
const Int8ConvolutionTable int8_convolution = {kBlock, plan_int8, pack_int8, run_int8};
}  // namespace RDQUANT_KERNELS_ISA
}  // namespace rdquant::runtime::kernels
