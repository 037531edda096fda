#pragma once

#include <array>
#include <cstdint>

#include "rdquant/program/step.hpp"

/// Who computes which step: kernels of our own, oneDNN where the build has it, the definition for the rest.
namespace rdquant::runtime::native {

class Builder;

/// Adds what computes the step, or returns false and adds nothing.
using Rule = bool (*)(Builder& builder, const program::Step& step);

/// Kernels of our own.
bool build_native(Builder& builder, const program::Step& step);
/// oneDNN's primitives, where it has fast ones. False in a build without oneDNN.
bool build_onednn(Builder& builder, const program::Step& step);
/// Any step, by its definition.
bool build_reference(Builder& builder, const program::Step& step);

/// What the environment allows and prefers.
struct SupplierChoice {
  enum class Preference : std::uint8_t {
    automatic,  ///< the faster one for each shape
    native,     ///< ours wherever they can
    onednn      ///< oneDNN's wherever it can
  };
  bool onednn = true;  ///< may be used
  Preference preference = Preference::automatic;
};

/// Reads RDQUANT_ONEDNN (0: off, 1 or empty: on where the build has it) and RDQUANT_KERNELS (auto, native,
/// onednn).
/// @throws InvalidArgument  another value
/// @throws Unsupported      oneDNN is required by a variable, but off or not in this build
[[nodiscard]] SupplierChoice choose_suppliers();

/// The rules for `step`, best first; the last one always succeeds.
[[nodiscard]] std::array<Rule, 3> rules_for(const Builder& builder, const program::Step& step);

}  // namespace rdquant::runtime::native
