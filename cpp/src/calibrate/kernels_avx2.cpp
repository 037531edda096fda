#define RDQUANT_KERNELS_ISA avx2
#include "calibrate/kernels.inl"
