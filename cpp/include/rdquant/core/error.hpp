#pragma once

#include <stdexcept>
#include <string>

/// The ways a failure leaves the library: one type per kind, each mapped to a Python exception of the same
/// name. A message says what was asked, what was found and what is allowed.
namespace rdquant::core {

class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// An argument is outside what the function allows; the caller can mend it.
class InvalidArgument : public Error {
 public:
  using Error::Error;
};

/// Bytes do not follow their format; the message names section and offset.
class CorruptFile : public Error {
 public:
  using Error::Error;
};

/// A valid request that this build or version cannot serve.
class Unsupported : public Error {
 public:
  using Error::Error;
};

/// Throws InvalidArgument with `message` unless `condition` holds.
inline void require(bool condition, const char* message) {
  if (!condition) throw InvalidArgument(message);
}

}  // namespace rdquant::core
