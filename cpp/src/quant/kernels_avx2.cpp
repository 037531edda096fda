#define RDQUANT_KERNELS_ISA avx2
#include "quant/kernels.inl"
