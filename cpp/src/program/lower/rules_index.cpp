// Gather and its kin, ReverseSequence, ScatterElements, TensorScatter, ScatterND, OneHot, Trilu, DepthToSpace, SpaceToDepth.
#include <array>
#include <numeric>
#include <utility>

#include "program/lower/lowering.hpp"

namespace rdquant::program {
namespace {

constexpr std::int64_t kMostBlock = 1 << 15;

void gather(Lowering& node) {
  const ValueId x = node.input(0), indices = node.input(1);
  const Gather op{node.axis(node.integer("axis", 0), node.rank(x))};
  const core::Shape from = node.shape(x);
  core::Shape shape(from.begin(), from.begin() + op.axis);
  shape.insert(shape.end(), node.shape(indices).begin(), node.shape(indices).end());
  shape.insert(shape.end(), from.begin() + op.axis + 1, from.end());
  node.give(0, node.emit(op, {x, indices}, node.dtype(x), std::move(shape)));
}

void gather_elements(Lowering& node) {
  const ValueId x = node.input(0), indices = node.input(1);
  const GatherElements op{node.axis(node.integer("axis", 0), node.rank(x))};
  node.check(node.rank(indices) == node.rank(x), "input and indices differ in rank");
  for (std::size_t i = 0; i < node.shape(x).size(); ++i) {
    node.check(i == at(op.axis) || node.shape(indices)[i] <= node.shape(x)[i],
               "indices are larger than the input in axis " + std::to_string(i));
  }
  node.give(0, node.emit(op, {x, indices}, node.dtype(x), node.shape(indices)));
}

void gather_nd(Lowering& node) {
  const ValueId x = node.input(0), indices = node.input(1);
  const GatherNd op{node.integer("batch_dims", 0)};
  const core::Shape &from = node.shape(x), &where = node.shape(indices);
  node.check(!where.empty() && op.batch_axes >= 0 && op.batch_axes < std::ssize(where) && where.back() >= 0 &&
                 op.batch_axes + where.back() <= std::ssize(from),
             "indices of shape " + core::shape_text(where) + " do not fit " + core::shape_text(from));
  for (std::size_t i = 0; i < at(op.batch_axes); ++i) node.check(from[i] == where[i], "the batches differ");
  core::Shape shape(where.begin(), where.end() - 1);
  shape.insert(shape.end(), from.begin() + op.batch_axes + where.back(), from.end());
  node.give(0, node.emit(op, {x, indices}, node.dtype(x), std::move(shape)));
}

/// 0 … count − 1 along `axis` of `rank`, of size 1 along the others.
ValueId counted(Lowering& node, std::int64_t count, std::size_t axis, std::size_t rank) {
  std::vector<std::int64_t> numbers(at(count));
  std::iota(numbers.begin(), numbers.end(), 0);
  core::Shape shape(rank, 1);
  shape[axis] = count;
  return node.reshape(node.builder().add_integers(numbers), std::move(shape));
}

/// The first `lengths` steps of each sequence in reverse order: element t is that of step length − 1 − t.
void reverse_sequence(Lowering& node) {
  const ValueId x = node.input(0), lengths = node.input(1);
  const std::int64_t time = node.integer("time_axis", 0), batch = node.integer("batch_axis", 1);
  const core::Shape shape = node.shape(x);
  node.check(shape.size() >= 2 && time + batch == 1 && time * batch == 0, "one axis must be 0, the other 1");
  node.check(node.shape(lengths) == core::Shape{shape[at(batch)]} && node.dtype(lengths) == core::DType::i64,
             "one length of type int64 is wanted for each sequence");
  core::Shape column(3, 1), all = {shape[0], shape[1], 1};
  column[at(batch)] = shape[at(batch)];
  const ValueId ends = node.reshape(lengths, column);
  const ValueId steps = counted(node, shape[at(time)], at(time), 3);
  const ValueId one = node.builder().add_scalar(core::DType::i64, 1);
  const ValueId last = combined(node, BinaryFunction::sub, ends, one);
  const ValueId mirrored = combined(node, BinaryFunction::sub, last, steps);
  const ValueId inside = compared(node, BinaryFunction::less, steps, ends);
  const ValueId from = node.emit(Where{}, {inside, mirrored, steps}, core::DType::i64, all);
  const ValueId sequence =
      node.emit(Expand{}, {counted(node, shape[at(batch)], at(batch), 3)}, core::DType::i64, all);
  const std::vector<ValueId> parts = time == 0 ? std::vector{from, sequence} : std::vector{sequence, from};
  const ValueId indices = node.emit(Concat{2}, parts, core::DType::i64, {all[0], all[1], 2});
  node.give(0, node.emit_like(GatherNd{}, {x, indices}, x));
}

Reduction reduction_of(const Lowering& node) {
  const std::string reduction = node.text("reduction", "none");
  if (reduction == "add") return Reduction::add;
  if (reduction == "mul") return Reduction::mul;
  if (reduction == "min") return Reduction::min;
  if (reduction == "max") return Reduction::max;
  if (reduction != "none") node.unsupported("reduction '" + reduction + "'");
  return Reduction::none;
}

void scatter_elements(Lowering& node) {
  const ValueId x = node.input(0), indices = node.input(1), updates = node.input(2);
  const ScatterElements op{node.axis(node.integer("axis", 0), node.rank(x)), reduction_of(node)};
  const core::Shape &to = node.shape(x), &from = node.shape(updates);
  node.check_same_type(std::array{x, updates});
  bool fits = from == node.shape(indices) && from.size() == to.size();
  for (std::size_t i = 0; fits && i < to.size(); ++i) fits = i == at(op.axis) || from[i] <= to[i];
  node.check(fits, "indices of shape " + core::shape_text(node.shape(indices)) + " and updates of shape " +
                       core::shape_text(from) + " do not fit " + core::shape_text(to));
  node.give(0, node.emit_like(op, {x, indices, updates}, x));
}

/// Updates go to the steps of a cache from `write_indices` on.
void tensor_scatter(Lowering& node) {
  const ValueId cache = node.input(0), updates = node.input(1), starts = node.optional_input(2);
  const core::Shape to = node.shape(cache), from = node.shape(updates);
  const std::size_t rank = to.size(), axis = at(node.axis(node.integer("axis", -2), node.rank(cache)));
  bool fits = from.size() == rank && axis > 0;
  for (std::size_t i = 0; fits && i < rank; ++i) fits = i == axis ? from[i] <= to[i] : from[i] == to[i];
  node.check(fits, "updates of shape " + core::shape_text(from) + " do not fit " + core::shape_text(to));
  ValueId steps = counted(node, from[axis], axis, rank);
  if (starts != kNone) {
    node.check(node.shape(starts) == core::Shape{to[0]} && node.dtype(starts) == core::DType::i64,
               "one index of type int64 is wanted for each entry of the batch");
    core::Shape column(rank, 1);
    column[0] = to[0];
    steps = combined(node, BinaryFunction::add, steps, node.reshape(starts, column));
  }
  const std::string mode = node.text("mode", "linear");
  if (mode == "circular") {
    const ValueId size = node.builder().add_scalar(core::DType::i64, static_cast<double>(to[axis]));
    steps = combined(node, BinaryFunction::mod, steps, size);
  } else if (mode != "linear") {
    node.unsupported("mode '" + mode + "'");
  }
  const ValueId indices = node.emit(Expand{}, {steps}, core::DType::i64, from);
  const ScatterElements op{static_cast<std::int64_t>(axis), Reduction::none};
  node.give(0, node.emit_like(op, {cache, indices, updates}, cache));
}

void scatter_nd(Lowering& node) {
  const ValueId x = node.input(0), indices = node.input(1), updates = node.input(2);
  const ScatterNd op{reduction_of(node)};
  node.check_same_type(std::array{x, updates});
  const core::Shape &to = node.shape(x), &where = node.shape(indices);
  node.check(!where.empty() && where.back() >= 0 && where.back() <= std::ssize(to),
             "indices of shape " + core::shape_text(where) + " do not fit " + core::shape_text(to));
  core::Shape wanted(where.begin(), where.end() - 1);
  wanted.insert(wanted.end(), to.begin() + where.back(), to.end());
  node.check(node.shape(updates) == wanted, "updates have shape " + core::shape_text(node.shape(updates)) +
                                                ", wanted " + core::shape_text(wanted));
  node.give(0, node.emit_like(op, {x, indices, updates}, x));
}

void one_hot(Lowering& node) {
  const ValueId indices = node.input(0), values = node.input(2);
  const auto depth = node.numbers_of(1);
  node.check(depth.size() == 1 && depth[0] >= 0 && depth[0] < static_cast<double>(kMostSize),
             "depth must be one number of 0 to 2^31");
  node.check(core::element_count(node.shape(values)) == 2, "values must be [off, on]");
  const OneHot op{node.axis(node.integer("axis", -1), node.rank(indices) + 1)};
  core::Shape shape = node.shape(indices);
  shape.insert(shape.begin() + op.axis, static_cast<std::int64_t>(depth[0]));
  node.give(0, node.emit(op, {indices, values}, node.dtype(values), std::move(shape)));
}

void triangle(Lowering& node) {
  const ValueId x = node.input(0);
  node.check(node.rank(x) >= 2, "the input must be matrices");
  const ValueId k = node.optional_input(1);
  node.check(k == kNone || core::element_count(node.shape(k)) == 1, "k must be one number");
  node.give(0, node.emit_like(Triangle{node.integer("upper", 1) != 0}, {x, k}, x));
}

void depth_to_space(Lowering& node) {
  const ValueId x = node.input(0);
  const std::string mode = node.text("mode", "DCR");
  if (mode != "DCR" && mode != "CRD") node.unsupported("mode '" + mode + "'");
  const DepthToSpace op{node.integer("blocksize", 1), mode == "CRD"};
  const std::int64_t b = op.block;
  node.check(node.rank(x) == 4 && b >= 1 && b <= kMostBlock && node.shape(x)[1] % (b * b) == 0,
             "shape " + core::shape_text(node.shape(x)) + " does not fit blocks of " + std::to_string(b));
  const core::Shape s = node.shape(x);
  node.give(0, node.emit(op, {x}, node.dtype(x), {s[0], s[1] / (b * b), s[2] * b, s[3] * b}));
}

void space_to_depth(Lowering& node) {
  const ValueId x = node.input(0);
  const SpaceToDepth op{node.integer("blocksize", 1)};
  const std::int64_t b = op.block;
  node.check(node.rank(x) == 4 && b >= 1 && b <= kMostBlock && node.shape(x)[2] % b == 0 &&
                 node.shape(x)[3] % b == 0,
             "shape " + core::shape_text(node.shape(x)) + " does not fit blocks of " + std::to_string(b));
  const core::Shape s = node.shape(x), out = {s[0], s[1] * b * b, s[2] / b, s[3] / b};
  const std::string mode = node.text("mode", "DCR");
  if (mode == "DCR") return node.give(0, node.emit(op, {x}, node.dtype(x), out));
  if (mode != "CRD") node.unsupported("mode '" + mode + "'");
  // The channel outermost, the place within the block inside it.
  const ValueId blocks = node.reshape(x, {s[0], s[1], out[2], b, out[3], b});
  const ValueId sorted =
      node.emit(Transpose{{0, 1, 3, 5, 2, 4}}, {blocks}, node.dtype(x), {s[0], s[1], b, b, out[2], out[3]});
  node.give(0, node.reshape(sorted, out));
}

}  // namespace

void add_index_rules(Rules& rules) {
  rules["Gather"] = gather;
  rules["GatherElements"] = gather_elements;
  rules["GatherND"] = gather_nd;
  rules["Scatter"] = rules["ScatterElements"] = scatter_elements;
  rules["ScatterND"] = scatter_nd;
  rules["ReverseSequence"] = reverse_sequence;
  rules["TensorScatter"] = tensor_scatter;
  rules["OneHot"] = one_hot;
  rules["Trilu"] = triangle;
  rules["DepthToSpace"] = depth_to_space;
  rules["SpaceToDepth"] = space_to_depth;
}

}  // namespace rdquant::program
