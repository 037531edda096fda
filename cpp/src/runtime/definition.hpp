#pragma once

#include <span>

#include "rdquant/program/step.hpp"

namespace rdquant::runtime {

/// program::evaluate; what it throws names the operation and the node, too.
void evaluate_named(const program::Step& step, std::span<const core::TensorView> inputs,
                    std::span<const core::MutableTensorView> outputs, int threads);

}  // namespace rdquant::runtime
