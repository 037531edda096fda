#pragma once

#include <cstdlib>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "net.hpp"

/// Checks of our own kernels without oneDNN.
namespace rdquant::testing {

/// Sets a variable for a while.
class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) {
    if (const char* before = std::getenv(name)) before_ = before;
    setenv(name, value, 1);
  }
  ~Variable() { before_ ? setenv(name_, before_->c_str(), 1) : unsetenv(name_); }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  const char* name_;
  std::optional<std::string> before_;
};

/// Compares with the definition and wants every step on kernels of ours.
inline void check_native(Net& net, std::vector<ValueId> outputs) {
  const Variable off("RDQUANT_ONEDNN", "0");
  check(net, std::move(outputs));
  for (const auto& row : native()->prepare(net.program, {1, 0})->plan()) {
    CAPTURE(row.operation);
    CAPTURE(row.kernel);
    CHECK(row.supplier == "native");
  }
}

}  // namespace rdquant::testing
