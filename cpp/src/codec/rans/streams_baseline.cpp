#define RDQUANT_KERNELS_ISA baseline
#include "codec/rans/streams.inl"
