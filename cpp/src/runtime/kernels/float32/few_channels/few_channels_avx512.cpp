#define RDQUANT_KERNELS_ISA avx512
#include "runtime/kernels/float32/few_channels/few_channels.inl"
