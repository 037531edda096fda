#define RDQUANT_KERNELS kernels_avx512
#include "kernels_body.hpp"
