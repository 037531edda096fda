// Which programs may be run row by row.
#include <algorithm>

#include "program/lower/builder.hpp"

namespace rdquant::program {
namespace {

/// What a rule needs to know of a value: whether axis 0 is the batch.
struct Rows {
  const Program& program;
  std::int64_t batch;
  std::vector<bool> batched;

  [[nodiscard]] const core::Shape& shape(ValueId id) const { return program.values[index(id)].shape; }
  [[nodiscard]] bool is(ValueId id) const { return id != kNone && batched[index(id)]; }
  [[nodiscard]] bool leads(ValueId id) const { return !shape(id).empty() && shape(id)[0] == batch; }
  /// True where no input from `first` on depends on the batch.
  [[nodiscard]] bool fixed_from(const Step& step, std::size_t first) const {
    return std::none_of(
        step.inputs.begin() + static_cast<std::ptrdiff_t>(std::min(first, step.inputs.size())),
        step.inputs.end(), [&](ValueId id) { return is(id); });
  }
  /// True where every input either has the batch as axis 0 of as many axes as the output, or is broadcast
  /// over it.
  [[nodiscard]] bool aligned(ValueId id, std::size_t rank) const {
    if (id == kNone) return true;
    if (is(id)) return shape(id).size() == rank;
    return shape(id).size() < rank || shape(id).empty() || shape(id)[0] == 1;
  }
  [[nodiscard]] bool aligned(const Step& step) const {
    const std::size_t rank = shape(step.outputs[0]).size();
    return std::ranges::all_of(step.inputs, [&](ValueId id) { return aligned(id, rank); });
  }
};

bool first_only(const Rows& rows, const Step& step) {
  return rows.is(step.inputs[0]) && rows.fixed_from(step, 1);
}

/// Conservative: what is not listed depends on other rows.
struct Independent {
  const Rows& rows;
  const Step& step;

  /// Scales are the same for all rows, or differ along an axis that is not the batch.
  [[nodiscard]] bool levels_apart(std::int64_t axis) const {
    const core::Shape& scale = rows.shape(step.inputs[1]);
    return first_only(rows, step) && (axis > 0 || core::element_count(scale) == 1);
  }

  bool operator()(const Convolution&) const {
    const ValueId residual = input(step, 3);
    return rows.is(step.inputs[0]) && !rows.is(step.inputs[1]) && !rows.is(input(step, 2)) &&
           !rows.is(input(step, 4)) && (residual == kNone || rows.is(residual));
  }
  bool operator()(const TransposedConvolution&) const { return first_only(rows, step); }
  bool operator()(const MatMul& op) const {
    const ValueId a = step.inputs[0], b = step.inputs[1];
    const std::size_t rank = rows.shape(step.outputs[0]).size();
    if (!rows.is(a) || rows.shape(a).size() != rank) return false;
    if (rank == 2 && (op.transpose_a || rows.is(b))) return false;
    if (rank > 2 && !rows.aligned(b, rank)) return false;
    return rows.aligned(input(step, 2), rank) && rows.aligned(input(step, 3), rank);
  }
  /// Indices count from the first row on.
  bool operator()(const Pool&) const {
    return first_only(rows, step) && (step.outputs.size() < 2 || step.outputs[1] == kNone);
  }
  bool operator()(const Unary&) const { return true; }
  bool operator()(const Binary&) const { return rows.aligned(step); }
  bool operator()(const Where&) const { return rows.aligned(step); }
  bool operator()(const Cast&) const { return true; }
  bool operator()(const Int8Convolution&) const {
    const ValueId residual = input(step, 4);
    return rows.is(step.inputs[0]) && !rows.is(step.inputs[1]) && !rows.is(input(step, 6)) &&
           (residual == kNone || rows.is(residual));
  }
  bool operator()(const Int8Binary&) const { return rows.aligned(step); }
  bool operator()(const Lookup&) const { return first_only(rows, step); }
  bool operator()(const Int8Pool&) const { return first_only(rows, step); }
  bool operator()(const Quantize& op) const { return levels_apart(op.axis); }
  bool operator()(const Dequantize& op) const { return levels_apart(op.axis); }
  bool operator()(const Reduce& op) const {
    return std::ranges::all_of(op.axes, [](auto a) { return a > 0; });
  }
  bool operator()(const ArgExtreme& op) const { return op.axis > 0; }
  bool operator()(const TopK& op) const { return op.axis > 0; }
  bool operator()(const Softmax& op) const { return op.axis > 0; }
  bool operator()(const LayerNormalization& op) const { return op.axis > 0 && first_only(rows, step); }
  bool operator()(const BatchNormalization&) const { return first_only(rows, step); }
  bool operator()(const GroupNormalization&) const {
    const ValueId residual = input(step, 3);
    return rows.is(step.inputs[0]) && !rows.is(step.inputs[1]) && !rows.is(step.inputs[2]) &&
           (residual == kNone || rows.is(residual));
  }
  bool operator()(const LpNormalization& op) const { return op.axis > 0; }
  bool operator()(const LocalResponseNormalization&) const { return true; }
  bool operator()(const Concat& op) const {
    return op.axis > 0 && std::ranges::all_of(step.inputs, [&](ValueId id) { return rows.is(id); });
  }
  bool operator()(const Split& op) const { return op.axis > 0; }
  bool operator()(const Slice& op) const {
    return op.starts[0] == 0 && op.steps[0] == 1 && rows.leads(step.outputs[0]);
  }
  bool operator()(const Pad& op) const {
    return op.begins[0] == 0 && op.ends[0] == 0 && first_only(rows, step);
  }
  /// Elements of one row stay together where the sizes of axis 0 agree.
  bool operator()(const Reshape&) const { return true; }
  bool operator()(const Transpose& op) const { return op.permutation[0] == 0; }
  bool operator()(const Gather& op) const { return op.axis > 0 && first_only(rows, step); }
  bool operator()(const DepthToSpace&) const { return true; }
  bool operator()(const SpaceToDepth&) const { return true; }
  bool operator()(const Resize& op) const { return op.scales[0] == 1.0F && op.roi.empty(); }
  bool operator()(const GridSample&) const { return rows.is(step.inputs[0]) && rows.is(step.inputs[1]); }
  template <typename Other>
  bool operator()(const Other&) const {
    return false;
  }
};

}  // namespace

bool rows_are_independent(const Program& program) {
  if (program.inputs.empty() || program.outputs.empty()) return false;
  const core::Shape& first = program.values[index(program.inputs[0])].shape;
  if (first.empty()) return false;
  Rows rows{program, first[0], std::vector<bool>(program.values.size(), false)};
  for (const ValueId id : program.inputs) {
    if (!rows.leads(id)) return false;
    rows.batched[index(id)] = true;
  }
  for (const Step& step : program.steps) {
    if (!std::visit(Independent{rows, step}, step.operation)) return false;
    for (const ValueId id : step.outputs) {
      if (id == kNone) continue;
      if (!rows.leads(id)) return false;
      rows.batched[index(id)] = true;
    }
  }
  return std::ranges::all_of(program.outputs, [&](ValueId id) { return rows.is(id); });
}

}  // namespace rdquant::program
