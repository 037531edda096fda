#define RDQUANT_KERNELS_ISA baseline
#include "dense.inl"
