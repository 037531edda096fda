// C++ error kinds to the Python exceptions of the same name in rdquant.errors.
#include <new>
#include <stdexcept>

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
    } catch (const std::bad_alloc&) {
      raise("InvalidArgument", core::Error("there is not enough memory for this model and these inputs"));
    } catch (const std::length_error&) {
      raise("InvalidArgument", core::Error("an array would be longer than any memory"));
    }
  });
}

}  // namespace rdquant::bindings
