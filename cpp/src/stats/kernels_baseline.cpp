#define RDQUANT_KERNELS_ISA baseline
#include "stats/kernels.inl"
