#define RDQUANT_KERNELS_ISA avx2
#define RDQUANT_KERNELS_BYTES 32
#define RDQUANT_KERNELS_ROWS 4
#include "linalg/kernels.inl"
