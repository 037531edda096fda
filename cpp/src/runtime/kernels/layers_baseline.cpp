#define RDQUANT_KERNELS_ISA baseline
#include "layers.inl"
