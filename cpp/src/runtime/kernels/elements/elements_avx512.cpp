#define RDQUANT_KERNELS_ISA avx512
#include "runtime/kernels/elements/elements.inl"
