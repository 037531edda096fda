#define RDQUANT_KERNELS_ISA avx2
#include "train/kernels.inl"
