#define RDQUANT_KERNELS_ISA baseline
#include "codec/rdo/viterbi.inl"
