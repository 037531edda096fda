#define RDQUANT_KERNELS_ISA avx512vnni
#include "runtime/kernels/int8/convolution/convolution.inl"
