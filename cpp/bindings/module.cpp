// The list of submodules, nothing else.
#include "bindings.hpp"

PYBIND11_MODULE(_core, m) {
  m.doc() = "The C++ core of rdquant. Use the package's public modules instead.";
  m.attr("version") = RDQUANT_VERSION;
  rdquant::bindings::register_errors();
  rdquant::bindings::bind_core(m);
  rdquant::bindings::bind_stats(m.def_submodule("stats"));
  rdquant::bindings::bind_quant(m.def_submodule("quant"));
  rdquant::bindings::bind_entropy(m.def_submodule("entropy"));
  pybind11::module_ codec = m.def_submodule("codec");
  rdquant::bindings::bind_codec(codec);
  rdquant::bindings::bind_coding(codec);
  rdquant::bindings::bind_graph(m.def_submodule("graph"));
  rdquant::bindings::bind_model(m.def_submodule("model"));
  rdquant::bindings::bind_program(m.def_submodule("program"));
  rdquant::bindings::bind_emit(m.def_submodule("emit"));
  rdquant::bindings::bind_runtime(m.def_submodule("runtime"));
  rdquant::bindings::bind_train(m.def_submodule("train"));
  rdquant::bindings::bind_calibrate(m.def_submodule("calibrate"));
}
