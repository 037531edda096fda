#include "bindings.hpp"
#include "rdquant/core/cpu.hpp"

namespace py = pybind11;

namespace rdquant::bindings {

void bind_core(py::module_ m) {
  m.def(
      "isa", [] { return std::string(core::isa_name(core::selected_isa())); },
      "Instruction set that the kernels use: baseline, avx2 or avx512 (forced by RDQUANT_ISA).");
  m.def(
      "available_isa", [] { return std::string(core::isa_name(core::available_isa())); },
      "Best instruction set of this processor.");
}

}  // namespace rdquant::bindings
