#define RDQUANT_KERNELS_ISA avx512
#include "train/kernels.inl"
