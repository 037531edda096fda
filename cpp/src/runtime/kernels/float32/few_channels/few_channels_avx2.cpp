#define RDQUANT_KERNELS_ISA avx2
#include "runtime/kernels/float32/few_channels/few_channels.inl"
