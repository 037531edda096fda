#define RDQUANT_KERNELS_ISA avx512
#include "runtime/kernels/int8/layers/layers.inl"
