#define RDQUANT_KERNELS_ISA avx512
#include "stats/kernels.inl"
