#define RDQUANT_KERNELS_ISA avx512
#include "runtime/kernels/float32/plain_pool/plain_pool.inl"
