#define RDQUANT_KERNELS kernels_avx512
#include "stats/kernels_body.hpp"
