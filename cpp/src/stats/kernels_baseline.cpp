#define RDQUANT_KERNELS kernels_baseline
#include "stats/kernels_body.hpp"
