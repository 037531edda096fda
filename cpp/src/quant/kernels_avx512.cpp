#define RDQUANT_KERNELS_ISA avx512
#include "quant/kernels.inl"
