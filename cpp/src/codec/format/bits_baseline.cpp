#define RDQUANT_KERNELS_ISA baseline
#include "codec/format/bits.inl"
