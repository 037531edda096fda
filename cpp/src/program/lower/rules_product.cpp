// MatMul, Gemm, Attention.
#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "program/lower/lowering.hpp"

namespace rdquant::program {
namespace {

void matmul(Lowering& node) {
  Matrices m = matrices_of(node, node.input(0), node.input(1));
  const ValueId y = node.emit(MatMul{}, {m.a, m.b}, node.dtype(m.a), std::move(m.out));
  node.give(0, node.reshape(y, std::move(m.squeezed)));
}

void gemm(Lowering& node) {
  const ValueId a = node.input(0), b = node.input(1), c = node.optional_input(2);
  node.check(node.rank(a) == 2 && node.rank(b) == 2, "Gemm takes matrices");
  MatMul op;
  op.transpose_a = node.integer("transA", 0) != 0;
  op.transpose_b = node.integer("transB", 0) != 0;
  op.alpha = node.real("alpha", 1);
  op.beta = node.real("beta", 1);
  const core::Shape left = node.shape(a), right = node.shape(b);
  const core::Shape out = {left[op.transpose_a ? 1 : 0], right[op.transpose_b ? 0 : 1]};
  node.check(
      left[op.transpose_a ? 0 : 1] == right[op.transpose_b ? 1 : 0],
      "matrices of shapes " + core::shape_text(left) + " and " + core::shape_text(right) + " do not fit");
  if (c != kNone) {
    node.check(broadcasts_to(node.shape(c), out), "C has shape " + core::shape_text(node.shape(c)) +
                                                      ", which does not broadcast to " +
                                                      core::shape_text(out));
  }
  node.give(0, node.emit(op, {a, b, c}, node.dtype(a), out));
}

constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();

enum class Scores : std::uint8_t { raw, capped, masked, softmax };  ///< ONNX's qk_matmul_output_mode

ValueId sum_of(Lowering& node, ValueId a, ValueId b, BinaryFunction function = BinaryFunction::add) {
  if (a == kNone || b == kNone) return a == kNone ? b : a;
  return combined(node, function, a, b);
}

ValueId choice(Lowering& node, ValueId condition, ValueId x, ValueId y) {
  core::Shape shape = broadcast(node.shape(condition), broadcast(node.shape(x), node.shape(y)));
  return node.emit(Where{}, {condition, x, y}, node.dtype(x), std::move(shape));
}

/// [batch, heads, steps, size], also of [batch, steps, heads · size].
ValueId with_heads(Lowering& node, ValueId x, const std::string& attribute) {
  const core::Shape shape = node.shape(x);
  if (shape.size() == 4) return x;
  node.check(shape.size() == 3, "inputs of three or four axes are wanted");
  const std::int64_t heads = node.integer(attribute, 0);
  node.check(heads >= 1 && shape[2] % heads == 0, attribute + " does not divide " + std::to_string(shape[2]));
  const std::int64_t size = shape[2] / heads;
  const ValueId apart = node.reshape(x, {shape[0], shape[1], heads, size});
  return node.emit(Transpose{{0, 2, 1, 3}}, {apart}, node.dtype(x), {shape[0], heads, shape[1], size});
}

/// What came before, then `now`, along the steps.
ValueId after(Lowering& node, ValueId past, ValueId now) {
  if (past == kNone) return now;
  core::Shape shape = node.shape(now);
  const core::Shape before = node.shape(past);
  bool fits = before.size() == 4;
  for (std::size_t i = 0; fits && i < 4; ++i) fits = i == 2 || before[i] == shape[i];
  node.check(fits,
             "a past of shape " + core::shape_text(before) + " does not fit " + core::shape_text(shape));
  shape[2] += before[2];
  return node.emit(Concat{2}, {past, now}, node.dtype(now), std::move(shape));
}

/// 0 … count − 1: places of rows, or of columns.
ValueId places(Lowering& node, std::int64_t count, bool rows) {
  std::vector<std::int64_t> numbers(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<std::int64_t>(i);
  const ValueId all = node.builder().add_integers(numbers);
  return rows ? node.reshape(all, {count, 1}) : all;
}

/// Which of `keys` steps each of `queries` may look at, by the node's attributes and the lengths of what is there;
/// kNone where all.
ValueId visible(Lowering& node, std::int64_t queries, std::int64_t keys) {
  const ValueId lengths = node.optional_input(6), past = node.optional_input(4);
  const bool causal = node.integer("is_causal", 0) != 0;
  const std::int64_t left = node.integer("left_window_size", -1),
                     right = node.integer("right_window_size", -1);
  const ValueId columns = places(node, keys, false);
  ValueId seen = kNone, ends = kNone, first = kNone;
  if (lengths != kNone) {
    const std::int64_t batch = core::element_count(node.shape(lengths));
    ends = node.reshape(lengths, {batch, 1, 1, 1});
    if (node.dtype(ends) != core::DType::i64)
      ends = node.emit(Cast{}, {ends}, core::DType::i64, node.shape(ends));
    seen = compared(node, BinaryFunction::less, columns, ends);
  }
  if (!causal && left < 0 && right < 0) return seen;
  Builder& builder = node.builder();
  const auto number = [&](std::int64_t n) {
    return builder.add_scalar(core::DType::i64, static_cast<double>(n));
  };
  first = ends != kNone && past == kNone ? sum_of(node, ends, number(-queries))
                                         : number(past == kNone ? 0 : node.shape(past)[2]);
  const ValueId rows = sum_of(node, places(node, queries, true), first);
  const auto limit = [&](BinaryFunction function, std::int64_t shift) {
    const ValueId within = compared(node, function, columns, sum_of(node, rows, number(shift)));
    seen = sum_of(node, seen, within, BinaryFunction::logical_and);
  };
  if (causal) limit(BinaryFunction::less_equal, 0);
  if (left >= 0) limit(BinaryFunction::greater_equal, -left);
  if (right >= 0) limit(BinaryFunction::less_equal, right);
  return seen;
}

/// The node's own mask, on `keys` steps: those that it lacks are hidden.
ValueId own_mask(Lowering& node, std::int64_t keys) {
  const ValueId mask = node.optional_input(3);
  if (mask == kNone) return kNone;
  core::Shape shape = node.shape(mask);
  node.check(
      !shape.empty() && shape.size() <= 4 && shape.back() <= keys,
      "a mask of shape " + core::shape_text(shape) + " does not fit " + std::to_string(keys) + " keys");
  if (shape.back() == keys) return mask;
  Pad op{PadMode::constant, core::Shape(shape.size(), 0), core::Shape(shape.size(), 0)};
  op.ends.back() = keys - shape.back();
  shape.back() = keys;
  const core::DType dtype = node.dtype(mask);
  const ValueId hidden = node.builder().add_scalar(dtype, dtype == core::DType::boolean ? 0 : kMinusInfinity);
  return node.emit(std::move(op), {mask, hidden}, dtype, std::move(shape));
}

/// What is added to scores: 0 or the mask's number where a key may be looked at, −∞ elsewhere; kNone where 0 everywhere.
ValueId bias_of(Lowering& node, core::DType dtype, std::int64_t queries, std::int64_t keys) {
  ValueId seen = visible(node, queries, keys), mask = own_mask(node, keys);
  if (mask != kNone && node.dtype(mask) == core::DType::boolean) {
    seen = sum_of(node, seen, std::exchange(mask, kNone), BinaryFunction::logical_and);
  }
  if (mask != kNone && node.dtype(mask) != dtype) mask = node.emit(Cast{}, {mask}, dtype, node.shape(mask));
  if (seen == kNone) return mask;
  Builder& builder = node.builder();
  const ValueId shown = mask != kNone ? mask : builder.add_scalar(dtype, 0);
  return choice(node, seen, shown, builder.add_scalar(dtype, kMinusInfinity));
}

/// True for queries that may look at no key [.., queries, 1]; kNone where none is known to be of that kind.
ValueId blind(Lowering& node, ValueId bias) {
  if (bias == kNone) return kNone;
  core::Shape shape = node.shape(bias);
  const auto axis = std::ssize(shape) - 1;
  shape.back() = 1;
  const core::DType dtype = node.dtype(bias);
  const ValueId largest = node.emit(Reduce{ReduceFunction::max, {axis}}, {bias}, dtype, shape);
  const ValueId nothing = node.builder().add_scalar(dtype, kMinusInfinity);
  const ValueId found = compared(node, BinaryFunction::equal, largest, nothing);
  if (!node.builder().is_constant(found)) return found;
  const std::vector<double> known = node.builder().bake(found).doubles();
  return std::ranges::all_of(known, [](double v) { return v == 0; }) ? kNone : found;
}

/// Zeros in rows of `x` that are `hidden`.
ValueId without(Lowering& node, ValueId hidden, ValueId x) {
  if (hidden == kNone) return x;
  return choice(node, hidden, node.builder().add_scalar(node.dtype(x), 0), x);
}

ValueId capped(Lowering& node, ValueId scores, float cap) {
  if (cap <= 0) return scores;
  const ValueId number = node.builder().add_scalar(node.dtype(scores), static_cast<double>(cap));
  const ValueId small = node.emit_like(Binary{BinaryFunction::div, {}}, {scores, number}, scores);
  const ValueId bent = node.emit_like(Unary{{Function::tanh}}, {small}, scores);
  return node.emit_like(Binary{BinaryFunction::mul, {}}, {bent, number}, scores);
}

/// In the element type that `softmax_precision` names, where that is a wider one.
ValueId softmax_of(Lowering& node, ValueId scores) {
  const core::DType own = node.dtype(scores);
  const core::DType wanted =
      node.has("softmax_precision") ? dtype_of_onnx(node.integer("softmax_precision", 1)) : own;
  const auto axis = node.rank(scores) - 1;
  if (core::size_of(wanted) <= core::size_of(own)) return node.emit_like(Softmax{axis}, {scores}, scores);
  const ValueId wide = node.emit(Cast{}, {scores}, wanted, node.shape(scores));
  return node.emit(Cast{}, {node.emit_like(Softmax{axis}, {wide}, wide)}, own, node.shape(scores));
}

/// Sizes of scaled products of queries and keys; several heads of queries may share one of keys.
struct Sizes {
  std::int64_t batch, heads, shared, queries, keys, values;  ///< `shared`: heads of keys
};

Sizes sizes_of(Lowering& node, ValueId q, ValueId k, ValueId v) {
  const core::Shape a = node.shape(q), b = node.shape(k), c = node.shape(v);
  const bool fits = a.size() == 4 && b.size() == 4 && c.size() == 4 && a[0] == b[0] && b[0] == c[0] &&
                    b[1] == c[1] && b[2] == c[2] && a[3] == b[3] && b[1] > 0 && a[1] % b[1] == 0;
  node.check(fits, "queries of shape " + core::shape_text(a) + ", keys of shape " + core::shape_text(b) +
                       " and values of shape " + core::shape_text(c) + " do not fit");
  return {a[0], a[1], b[1], a[2], b[2], c[3]};
}

/// softmax(q kᵀ · scale + bias): the shares of keys, and the scores that the node may give besides.
ValueId shares(Lowering& node, ValueId q, ValueId k, const Sizes& sizes, ValueId bias, ValueId hidden) {
  const auto mode = static_cast<Scores>(node.integer("qk_matmul_output_mode", 0));
  const core::Shape shape = {sizes.batch, sizes.heads, sizes.queries, sizes.keys};
  const float cap = node.real("softcap", 0);
  MatMul op;
  op.transpose_b = true;
  op.alpha = node.has("scale") && node.real("scale", 0) != 0
                 ? node.real("scale", 0)
                 : 1 / std::sqrt(static_cast<float>(node.shape(q)[3]));
  const bool inside = bias != kNone && sizes.shared == sizes.heads && cap <= 0 && !node.wants(3);
  node.check(bias == kNone || broadcasts_to(node.shape(bias), shape),
             "the mask does not broadcast to " + core::shape_text(shape));
  ValueId scores = node.emit(op, {q, k, inside ? bias : kNone}, node.dtype(q),
                             {sizes.batch, sizes.shared, node.shape(q)[2], sizes.keys});
  scores = node.reshape(scores, shape);
  const auto give = [&](Scores wanted) {
    if (mode == wanted) node.give(3, scores);
  };
  give(Scores::raw);
  scores = capped(node, scores, cap);
  give(Scores::capped);
  if (!inside) scores = sum_of(node, scores, bias);
  give(Scores::masked);
  scores = softmax_of(node, scores);
  if (node.wants(3)) scores = without(node, hidden, scores);
  give(Scores::softmax);
  return scores;
}

void attention(Lowering& node) {
  ValueId q = with_heads(node, node.input(0), "q_num_heads");
  const ValueId k = after(node, node.optional_input(4), with_heads(node, node.input(1), "kv_num_heads"));
  const ValueId v = after(node, node.optional_input(5), with_heads(node, node.input(2), "kv_num_heads"));
  node.give(1, k);
  node.give(2, v);
  const Sizes sizes = sizes_of(node, q, k, v);
  const core::DType dtype = node.dtype(q);
  // Heads that share keys lie next to each other: together they are one with more queries.
  const std::int64_t rows = sizes.heads / sizes.shared * sizes.queries;
  q = node.reshape(q, {sizes.batch, sizes.shared, rows, node.shape(q)[3]});
  const ValueId bias = bias_of(node, dtype, sizes.queries, sizes.keys), hidden = blind(node, bias);
  const ValueId parts =
      node.reshape(shares(node, q, k, sizes, bias, hidden), {sizes.batch, sizes.shared, rows, sizes.keys});
  ValueId y = node.emit(MatMul{}, {parts, v}, dtype, {sizes.batch, sizes.shared, rows, sizes.values});
  y = without(node, hidden, node.reshape(y, {sizes.batch, sizes.heads, sizes.queries, sizes.values}));
  if (node.rank(node.input(0)) == 3) {
    y = node.emit(Transpose{{0, 2, 1, 3}}, {y}, dtype,
                  {sizes.batch, sizes.queries, sizes.heads, sizes.values});
    y = node.reshape(y, {sizes.batch, sizes.queries, sizes.heads * sizes.values});
  }
  node.give(0, y);
}

void det(Lowering& node) {
  const ValueId x = node.input(0);
  core::Shape shape = node.shape(x);
  node.check(shape.size() >= 2 && shape.back() == shape[shape.size() - 2],
             "an input of shape " + core::shape_text(shape) + " holds no square matrices");
  shape.resize(shape.size() - 2);
  node.give(0, node.emit(Determinant{}, {x}, node.dtype(x), std::move(shape)));
}

}  // namespace

Matrices matrices_of(Lowering& node, ValueId a, ValueId b) {
  node.check(node.rank(a) >= 1 && node.rank(b) >= 1, "scalars cannot be multiplied as matrices");
  const bool row = node.rank(a) == 1, column = node.rank(b) == 1;
  if (row) a = node.reshape(a, {1, node.shape(a)[0]});
  if (column) b = node.reshape(b, {node.shape(b)[0], 1});
  const core::Shape left = node.shape(a), right = node.shape(b);
  node.check(left.back() == right[right.size() - 2], "matrices of shapes " + core::shape_text(left) +
                                                         " and " + core::shape_text(right) + " do not fit");
  core::Shape out = broadcast({left.begin(), left.end() - 2}, {right.begin(), right.end() - 2});
  core::Shape squeezed = out;
  out.push_back(left[left.size() - 2]);
  out.push_back(right.back());
  if (!row) squeezed.push_back(left[left.size() - 2]);
  if (!column) squeezed.push_back(right.back());
  return {a, b, std::move(out), std::move(squeezed)};
}

void add_product_rules(Rules& rules) {
  rules["MatMul"] = matmul;
  rules["Gemm"] = gemm;
  rules["Attention"] = attention;
  rules["Det"] = det;
}

}  // namespace rdquant::program
