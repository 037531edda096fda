#define RDQUANT_KERNELS_ISA baseline
#include "integer_layers.inl"
