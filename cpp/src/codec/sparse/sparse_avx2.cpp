#define RDQUANT_KERNELS_ISA avx2
#include "codec/sparse/sparse.inl"
