#define RDQUANT_KERNELS_ISA baseline
#include "calibrate/kernels.inl"
