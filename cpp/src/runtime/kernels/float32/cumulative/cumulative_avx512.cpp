#define RDQUANT_KERNELS_ISA avx512
#include "runtime/kernels/float32/cumulative/cumulative.inl"
