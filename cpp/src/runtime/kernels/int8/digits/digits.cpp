#include "runtime/kernels/int8/digits/digits.hpp"

#include "simd/dispatch.hpp"

namespace rdquant::runtime::kernels {

namespace avx512vnni {
extern const DigitKernels digits;
}
namespace dotprod {
extern const DigitKernels digits;
}

const DigitKernels* digit_kernels(core::Isa isa) {
  const DigitKernels* const none = nullptr;
  if (const DigitKernels* const found = RDQUANT_ARM_LEAF(dotprod, &dotprod::digits, none)) return found;
  return isa == core::Isa::avx512 ? RDQUANT_LEAF(vnni, &avx512vnni::digits, none) : none;
}

}  // namespace rdquant::runtime::kernels
