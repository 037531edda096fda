#include "stats/kernels.hpp"

#include "simd/dispatch.hpp"

namespace rdquant::stats {

const Kernels& kernels() { return simd::selected(RDQUANT_VARIANTS(table)); }

}  // namespace rdquant::stats
