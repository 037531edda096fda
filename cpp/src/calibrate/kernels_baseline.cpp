#define RDQUANT_KERNELS_ISA baseline
#include "kernels.inl"
