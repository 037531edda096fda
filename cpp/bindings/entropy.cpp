#include "bindings.hpp"

namespace rdquant::bindings {

void bind_entropy(pybind11::module_ m) { m.doc() = "rdquant::entropy"; }

}  // namespace rdquant::bindings
