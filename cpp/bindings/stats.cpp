#include "bindings.hpp"

namespace rdquant::bindings {

void bind_stats(pybind11::module_ m) { m.doc() = "rdquant::stats"; }

}  // namespace rdquant::bindings
