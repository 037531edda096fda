#define RDQUANT_KERNELS_ISA avx512vnni
#include "integer_convolution.inl"
