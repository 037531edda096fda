#include "rdquant/core/error.hpp"
#include "runtime/native/native.hpp"

namespace rdquant::runtime {
namespace {

class Absent final : public Backend {
 public:
  [[nodiscard]] std::string_view name() const override { return "native"; }
  [[nodiscard]] std::optional<std::string> unavailable() const override {
    return "rdquant was built without oneDNN";
  }
  [[nodiscard]] std::unique_ptr<Executable> prepare(const program::Program& /*program*/,
                                                    const Options& /*options*/) const override {
    throw core::Unsupported("backend 'native' cannot be had: " + *unavailable());
  }
};

}  // namespace

const Backend& native_backend() {
  static const Absent instance;
  return instance;
}

}  // namespace rdquant::runtime
