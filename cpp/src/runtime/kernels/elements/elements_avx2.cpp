#define RDQUANT_KERNELS_ISA avx2
#include "runtime/kernels/elements/elements.inl"
