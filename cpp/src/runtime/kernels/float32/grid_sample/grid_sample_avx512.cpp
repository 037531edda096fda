#define RDQUANT_KERNELS_ISA avx512
#include "runtime/kernels/float32/grid_sample/grid_sample.inl"
