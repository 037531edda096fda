#pragma once

#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "rdquant/graph/graph.hpp"
#include "rdquant/program/step.hpp"

namespace rdquant::program {

enum class Role : std::uint8_t { input, constant, activation };

/// One array of a Program: its type is fixed, and a constant's data are known.
struct Value {
  std::string name;
  core::DType dtype = core::DType::f32;
  core::Shape shape;
  Role role = Role::activation;
  core::Tensor data;  ///< of constants
};

/// A model lowered for fixed input shapes: plain data that backends and emitters agree on.
///
/// Constants that derive from the model's weights (a folded batch norm, say) are made by `prologue`, whose
/// steps read and write constants only; it has run when `lower` returns, and `set_weights` runs what it must
/// again. Constants that only the prologue reads have no data: they are made when needed, and dropped.
struct Program {
  std::string name;
  std::vector<Value> values;
  std::vector<Step> prologue;
  std::vector<Step> steps;       ///< in order of execution
  std::vector<ValueId> inputs;   ///< as the graph's inputs, those not used too
  std::vector<ValueId> outputs;  ///< as the graph's outputs; may be inputs or constants
  std::unordered_map<std::string, ValueId>
      weights;  ///< initializer → constant, of those still used by a step
  /// Initializers whose values have gone into steps (an axis, a limit of Clip): to replace one is to lower
  /// again.
  std::set<std::string> baked;
};

struct LowerOptions {
  bool fuse = true;  ///< false: a step per operator, for comparison
};

/// Lowers `graph` for the named input shapes: shapes inferred, constants folded, activations, batch norms,
/// biases and residual adds fused (fuse.cpp lists the rules), dead steps dropped.
///
/// @throws Unsupported      an operator, attribute or dtype that no rule takes; the message names the node
/// @throws InvalidArgument  shapes that do not fit the graph
[[nodiscard]] Program lower(const graph::Graph& graph, const std::map<std::string, core::Shape>& input_shapes,
                            const LowerOptions& options = {});

/// Names of the operators that `lower` takes, sorted: "Add", "Conv", …, "com.microsoft.QGemm", … (with the
/// domain where that is not the standard one).
[[nodiscard]] std::vector<std::string> operators();

/// @throws Unsupported  `graph` has an operator that `lower` does not take; the message names the node
void check_operators(const graph::Graph& graph);

/// Replaces weights by initializer name (dtype and shape must stay), re-runs the prologue steps that depend
/// on them and returns the constants that changed, of those that steps read. Names that no step uses are ignored.
/// @throws InvalidArgument  another dtype or shape, or a name in `baked`
std::vector<ValueId> set_weights(Program& program, const std::map<std::string, core::Tensor>& tensors);

/// Drops the data of constants that are not kept (a flag for each value), but for those that the prologue begins with:
/// `set_weights` makes again what it needs.
void forget_constants(Program& program, const std::vector<bool>& kept);

/// True where row i of every output depends on row i of every input alone, so that a batch may be run in
/// pieces.
[[nodiscard]] bool rows_are_independent(const Program& program);

/// Multiply–accumulates of a step, and bytes of its inputs and outputs read and written once.
struct Cost {
  std::int64_t macs = 0, bytes = 0;
};
[[nodiscard]] Cost cost(const Program& program, const Step& step);

/// One line per value and step, stable from run to run; golden files compare it.
[[nodiscard]] std::string dump(const Program& program);

}  // namespace rdquant::program
