#define RDQUANT_KERNELS_ISA baseline
#include "runtime/kernels/float32/plain_pool/plain_pool.inl"
