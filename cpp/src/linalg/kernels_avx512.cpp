#define RDQUANT_KERNELS_ISA avx512
#define RDQUANT_KERNELS_BYTES 64
#define RDQUANT_KERNELS_ROWS 8
#include "linalg/kernels.inl"
