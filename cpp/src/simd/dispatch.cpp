#include "simd/dispatch.hpp"

#include <string>

#include "rdquant/core/error.hpp"

namespace rdquant::simd {

void require_available(core::Isa isa) {
  if (isa <= core::available_isa()) return;
  throw core::InvalidArgument("kernels for " + std::string(core::isa_name(isa)) +
                              " requested: this processor offers " +
                              std::string(core::isa_name(core::available_isa())));
}

}  // namespace rdquant::simd
