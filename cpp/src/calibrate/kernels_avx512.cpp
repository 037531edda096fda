#define RDQUANT_KERNELS_ISA avx512
#include "calibrate/kernels.inl"
