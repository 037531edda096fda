#pragma once

#include <optional>
#include <string>
#include <vector>

#include "rdquant/graph/graph.hpp"

/// Operators on levels (the form QOperator), rewritten as what they mean: DequantizeLinear, the operator on
/// floats, QuantizeLinear (the form QDQ). So both forms are lowered, and fused, alike.
namespace rdquant::program {

/// The nodes of the standard domain that stand for `node`, in order; nullopt for a node that is no such
/// operator. Besides ONNX's own two these are ONNX Runtime's, of the domain com.microsoft.
/// @throws Unsupported  an attribute, or zero points left out, that this does not take
[[nodiscard]] std::optional<std::vector<graph::Node>> in_floats(const graph::Node& node);

/// Names of the operators that `in_floats` takes, with their domain: "QLinearConv",
/// "com.microsoft.QLinearAdd", …
[[nodiscard]] std::vector<std::string> operators_in_floats();

}  // namespace rdquant::program
