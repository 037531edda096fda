#define RDQUANT_KERNELS kernels_avx2
#include "stats/kernels_body.hpp"
