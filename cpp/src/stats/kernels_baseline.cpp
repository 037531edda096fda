#define RDQUANT_KERNELS kernels_baseline
#include "kernels_body.hpp"
