#define RDQUANT_KERNELS_ISA avx512
#include "integer_convolution.inl"
