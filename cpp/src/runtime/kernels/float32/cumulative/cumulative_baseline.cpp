#define RDQUANT_KERNELS_ISA baseline
#include "runtime/kernels/float32/cumulative/cumulative.inl"
