#define RDQUANT_KERNELS_ISA avx2
#include "runtime/kernels/float32/cumulative/cumulative.inl"
