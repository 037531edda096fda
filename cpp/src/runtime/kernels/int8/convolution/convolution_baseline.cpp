#define RDQUANT_KERNELS_ISA baseline
#include "runtime/kernels/int8/convolution/convolution.inl"
