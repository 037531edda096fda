#define RDQUANT_KERNELS_ISA baseline
#include "depthwise.inl"
