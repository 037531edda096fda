#define RDQUANT_KERNELS_ISA avx2
#include "codec/format/bits.inl"
