#pragma once

#include <pybind11/pybind11.h>

namespace rdquant::bindings {

void register_errors();
void bind_core(pybind11::module_ m);
void bind_stats(pybind11::module_ m);
void bind_quant(pybind11::module_ m);
void bind_entropy(pybind11::module_ m);
void bind_codec(pybind11::module_ m);
void bind_graph(pybind11::module_ m);
void bind_model(pybind11::module_ m);
void bind_program(pybind11::module_ m);
void bind_emit(pybind11::module_ m);
void bind_runtime(pybind11::module_ m);
void bind_rdo(pybind11::module_& m);
void bind_container(pybind11::module_& m);
void bind_coding(pybind11::module_ m);
void bind_train(pybind11::module_ m);
void bind_calibrate(pybind11::module_ m);

}  // namespace rdquant::bindings
