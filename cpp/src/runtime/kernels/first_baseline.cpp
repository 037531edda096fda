#define RDQUANT_KERNELS_ISA baseline
#include "first.inl"
