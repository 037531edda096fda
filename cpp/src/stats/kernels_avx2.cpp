#define RDQUANT_KERNELS kernels_avx2
#include "kernels_body.hpp"
