#define RDQUANT_KERNELS_ISA avx512
#include "codec/sparse/sparse.inl"
