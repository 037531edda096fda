#pragma once

#include <span>
#include <string>

#include "rdquant/program/step.hpp"

namespace rdquant::runtime {

/// What messages about a step begin with: its operation and node.
[[nodiscard]] std::string label(const program::Step& step);

/// program::evaluate; what it throws names the operation and the node, too.
void evaluate_named(const program::Step& step, std::span<const core::TensorView> inputs,
                    std::span<const core::MutableTensorView> outputs, int threads);

}  // namespace rdquant::runtime
