#define RDQUANT_KERNELS_ISA dotprod
#include "runtime/kernels/int8/digits/digits.inl"
