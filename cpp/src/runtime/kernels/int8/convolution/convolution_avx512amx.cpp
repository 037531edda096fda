#define RDQUANT_KERNELS_ISA avx512amx
#include "runtime/kernels/int8/convolution/amx.inl"
