#include <pybind11/stl.h>

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
  m.def(
      "cpu", [] { return core::cpu_name(core::selected_cpu()); },
      "The instruction set that the kernels use and the features beside it, as RDQUANT_ISA takes it.");
  m.def(
      "cpu_names", [] { return core::cpu_names(core::available_cpu()); },
      "Values of RDQUANT_ISA that this processor allows, without +features.");
}

}  // namespace rdquant::bindings
