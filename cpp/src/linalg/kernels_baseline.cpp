#define RDQUANT_KERNELS_ISA baseline
#define RDQUANT_KERNELS_BYTES 16
#define RDQUANT_KERNELS_ROWS 4
#include "linalg/kernels.inl"
