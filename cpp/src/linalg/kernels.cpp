#include "linalg/kernels.hpp"

#include "simd/dispatch.hpp"

namespace rdquant::linalg {

const Kernels& selected_kernels() { return simd::selected(RDQUANT_VARIANTS(kernels)); }

}  // namespace rdquant::linalg
