#define RDQUANT_KERNELS_ISA avx512vnni
#include "runtime/kernels/int8/digits/digits.inl"
