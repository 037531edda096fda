#define RDQUANT_KERNELS_ISA baseline
#include "codec/sparse/sparse.inl"
