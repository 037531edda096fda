#define RDQUANT_KERNELS_ISA baseline
#include "runtime/kernels/elements/elements.inl"
