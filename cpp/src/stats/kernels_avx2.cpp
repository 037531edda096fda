#define RDQUANT_KERNELS_ISA avx2
#include "stats/kernels.inl"
