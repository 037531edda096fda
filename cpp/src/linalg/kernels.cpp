#include "linalg/kernels.hpp"

#include "rdquant/core/cpu.hpp"

namespace rdquant::linalg {
namespace {

const Kernels& choose() {
#if defined(__x86_64__)
  if (core::selected_isa() == core::Isa::avx512) return avx512::kernels;
  if (core::selected_isa() == core::Isa::avx2) return avx2::kernels;
#endif
  return baseline::kernels;
}

}  // namespace

const Kernels& selected_kernels() {
  static const Kernels& chosen = choose();
  return chosen;
}

}  // namespace rdquant::linalg
