// C++ error kinds to the Python exceptions of the same name in rdquant.errors.
#include "bindings.hpp"
#include "rdquant/core/error.hpp"

namespace py = pybind11;

namespace rdquant::bindings {
namespace {

void raise(const char* kind, const core::Error& error) {
  const py::object type = py::module_::import("rdquant.errors").attr(kind);
  PyErr_SetString(type.ptr(), error.what());
}

}  // namespace

void register_errors() {
  py::register_exception_translator([](std::exception_ptr failure) {
    try {
      std::rethrow_exception(failure);
    } catch (const core::InvalidArgument& error) {
      raise("InvalidArgument", error);
    } catch (const core::CorruptFile& error) {
      raise("CorruptFile", error);
    } catch (const core::Unsupported& error) {
      raise("Unsupported", error);
    } catch (const core::Error& error) {
      raise("RdquantError", error);
    }
  });
}

}  // namespace rdquant::bindings
