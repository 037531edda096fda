#define RDQUANT_KERNELS_ISA baseline
#include "winograd.inl"
