#define RDQUANT_KERNELS_ISA baseline
#include "integer_convolution.inl"
