#define RDQUANT_KERNELS_ISA baseline
#include "runtime/kernels/float32/grid_sample/grid_sample.inl"
