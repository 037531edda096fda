#define RDQUANT_KERNELS_ISA avx512
#include "codec/rdo/viterbi.inl"
