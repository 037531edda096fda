#define RDQUANT_KERNELS_ISA baseline
#include "runtime/kernels/float32/first_layer/first_layer.inl"
