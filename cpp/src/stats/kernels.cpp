#include "stats/kernels.hpp"

#include "rdquant/core/cpu.hpp"

namespace rdquant::stats {
namespace {

Kernels choose() {
#if defined(__x86_64__)
  if (core::selected_isa() == core::Isa::avx512) return kernels_avx512();
  if (core::selected_isa() == core::Isa::avx2) return kernels_avx2();
#endif
  return kernels_baseline();
}

}  // namespace

const Kernels& kernels() {
  static const Kernels chosen = choose();
  return chosen;
}

}  // namespace rdquant::stats
