#define RDQUANT_KERNELS_ISA avx2
#include "runtime/kernels/int8/layers/layers.inl"
