#define RDQUANT_KERNELS_ISA baseline
#include "runtime/kernels/float32/few_channels/few_channels.inl"
