#define RDQUANT_KERNELS_ISA avx512
#include "kernels.inl"
