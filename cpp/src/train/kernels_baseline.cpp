#define RDQUANT_KERNELS_ISA baseline
#include "train/kernels.inl"
