#define RDQUANT_KERNELS_ISA baseline
#include "quant/kernels.inl"
