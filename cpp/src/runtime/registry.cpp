#include <array>

#include "rdquant/core/error.hpp"
#include "rdquant/runtime/backend.hpp"
#include "runtime/native/native.hpp"
#include "runtime/reference/reference.hpp"

namespace rdquant::runtime {

std::span<const Backend* const> backends() {
  static const std::array<const Backend*, 2> all = {&native_backend(), &reference_backend()};
  return all;
}

const Backend& backend(std::string_view name) {
  std::string there;
  for (const Backend* candidate : backends()) {
    const std::optional<std::string> reason = candidate->unavailable();
    if (!reason && (name == "auto" || name == candidate->name())) return *candidate;
    there +=
        (there.empty() ? "" : ", ") + std::string(candidate->name()) + (reason ? " (" + *reason + ")" : "");
  }
  throw core::Unsupported("backend '" + std::string(name) + "' is unavailable; this build has " + there);
}

}  // namespace rdquant::runtime
