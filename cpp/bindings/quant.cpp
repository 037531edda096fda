#include "bindings.hpp"

namespace rdquant::bindings {

void bind_quant(pybind11::module_ m) { m.doc() = "rdquant::quant"; }

}  // namespace rdquant::bindings
