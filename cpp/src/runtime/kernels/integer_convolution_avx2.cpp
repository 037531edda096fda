#define RDQUANT_KERNELS_ISA avx2
#include "integer_convolution.inl"
