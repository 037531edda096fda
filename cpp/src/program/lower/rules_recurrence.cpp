// RNN, GRU, LSTM: for each direction one product with all inputs, then the recurrence.
#include <algorithm>
#include <cctype>
#include <map>
#include <utility>

#include "program/lower/lowering.hpp"

namespace rdquant::program {
namespace {

/// [begin, end) of `x` along `axis`.
ValueId part(Lowering& node, ValueId x, std::size_t axis, std::int64_t begin, std::int64_t end) {
  core::Shape shape = node.shape(x);
  if (begin == 0 && end == shape[axis]) return x;
  Slice op{core::Shape(shape.size(), 0), core::Shape(shape.size(), 1)};
  op.starts[axis] = begin;
  shape[axis] = end - begin;
  return node.emit(std::move(op), {x}, node.dtype(x), std::move(shape));
}

/// Entry `i` of `x` along its first axis; kNone of kNone.
ValueId entry(Lowering& node, ValueId x, std::int64_t i) {
  if (x == kNone) return kNone;
  const core::Shape& shape = node.shape(x);
  core::Shape rest(shape.begin() + 1, shape.end());
  return node.reshape(part(node, x, 0, i, i + 1), std::move(rest));
}

/// The same of a weight. Where it was made of constant levels, so is its entry: products can compute with these.
ValueId weight_entry(Lowering& node, ValueId w, std::int64_t i) {
  const std::vector<Step>& known = node.builder().program().prologue;
  const auto made = std::ranges::find_if(known, [&](const Step& s) { return s.outputs[0] == w; });
  const auto* op = made == known.end() ? nullptr : std::get_if<Dequantize>(&made->operation);
  if (op == nullptr) return entry(node, w, i);
  const std::vector<ValueId> from = made->inputs;
  const std::int64_t axis = op->axis;
  std::vector<ValueId> inputs{entry(node, from[0], i)};
  for (std::size_t k = 1; k < from.size(); ++k) {
    const bool several = from[k] != kNone && axis == 0 && core::element_count(node.shape(from[k])) > 1;
    inputs.push_back(several ? entry(node, from[k], i) : from[k]);
  }
  return node.emit(Dequantize{std::max<std::int64_t>(0, axis - 1)}, inputs, node.dtype(w),
                   node.shape(inputs[0]));
}

ValueId swap_first_two(Lowering& node, ValueId x) {
  if (x == kNone) return kNone;
  core::Shape shape = node.shape(x);
  std::swap(shape[0], shape[1]);
  Transpose op;
  for (std::size_t i = 0; i < shape.size(); ++i) op.permutation.push_back(static_cast<std::int64_t>(i));
  std::swap(op.permutation[0], op.permutation[1]);
  return node.emit(std::move(op), {x}, node.dtype(x), std::move(shape));
}

/// The functions that ONNX's attributes name, with parameters in the order of those that have any.
class Activations {
 public:
  explicit Activations(Lowering& node)
      : node_(node), alpha_(node.reals("activation_alpha")), beta_(node.reals("activation_beta")) {}

  Activation next(std::string name) {
    std::ranges::transform(name, name.begin(), [](unsigned char c) { return std::tolower(c); });
    if (name == "relu") return {Function::relu};
    if (name == "tanh") return {Function::tanh};
    if (name == "sigmoid") return {Function::sigmoid};
    if (name == "softsign") return {Function::softsign};
    if (name == "softplus") return {Function::softplus};
    if (name == "leakyrelu") return {Function::leaky_relu, take(alpha_, a_, 0.01F)};
    if (name == "thresholdedrelu") return {Function::thresholded_relu, take(alpha_, a_, 1)};
    if (name == "elu") return {Function::elu, take(alpha_, a_, 1)};
    if (name == "hardsigmoid") {
      const float slope = take(alpha_, a_, 0.2F);
      return {Function::hard_sigmoid, slope, take(beta_, b_, 0.5F)};
    }
    node_.unsupported("activation '" + name + "'");
  }

 private:
  static float take(const std::vector<float>& from, std::size_t& used, float otherwise) {
    return used < from.size() ? from[used++] : otherwise;
  }

  Lowering& node_;
  std::vector<float> alpha_, beta_;
  std::size_t a_ = 0, b_ = 0;
};

std::vector<std::string> activation_names(const Lowering& node, Cell cell, std::int64_t directions) {
  static const std::map<Cell, std::vector<std::string>> kDefaults = {
      {Cell::rnn, {"tanh"}}, {Cell::gru, {"sigmoid", "tanh"}}, {Cell::lstm, {"sigmoid", "tanh", "tanh"}}};
  const std::vector<std::string>& defaults = kDefaults.at(cell);
  const std::size_t count = defaults.size() * static_cast<std::size_t>(directions);
  std::vector<std::string> names = node.texts("activations");
  if (names.empty()) {
    for (std::size_t i = 0; i < count; ++i) names.push_back(defaults[i % defaults.size()]);
  }
  node.check(names.size() == count, "activations: expected " + std::to_string(count) + " names, found " +
                                        std::to_string(names.size()));
  return names;
}

/// The node's inputs, steps first.
struct Layer {
  Recurrence op;
  std::int64_t gates = 1, directions = 1, steps = 0, batch = 0, hidden = 0;
  bool batch_first = false;
  ValueId x = kNone, w = kNone, r = kNone, bias = kNone, lengths = kNone, h = kNone, c = kNone,
          peepholes = kNone;
};

void check_shape(const Lowering& node, ValueId id, const core::Shape& expected, const std::string& what) {
  if (id == kNone || node.shape(id) == expected) return;
  node.invalid(what + ": expected shape " + core::shape_text(expected) + ", found " +
               core::shape_text(node.shape(id)));
}

void check(const Lowering& node, const Layer& l) {
  const std::int64_t d = l.directions, rows = l.gates * l.hidden;
  check_shape(node, l.w, {d, rows, node.shape(l.x)[2]}, "W");
  check_shape(node, l.r, {d, rows, l.hidden}, "R");
  check_shape(node, l.bias, {d, 2 * rows}, "B");
  check_shape(node, l.lengths, {l.batch}, "sequence_lens");
  check_shape(node, l.h, {d, l.batch, l.hidden}, "initial_h");
  check_shape(node, l.c, {d, l.batch, l.hidden}, "initial_c");
  check_shape(node, l.peepholes, {d, 3 * l.hidden}, "P");
  node.check_same_type(std::vector<ValueId>{l.x, l.w, l.r, l.bias, l.h, l.c, l.peepholes});
  node.check(l.lengths == kNone || node.dtype(l.lengths) == core::DType::i32, "sequence_lens must be int32");
}

/// True where constant lengths are those of the whole sequence, which is what a layer without lengths takes.
bool lengths_say_nothing(Lowering& node, const Layer& l) {
  if (!node.builder().is_constant(l.lengths) || node.builder().is_variable(l.lengths)) return false;
  return std::ranges::all_of(node.numbers_of(4),
                             [&](double length) { return length == static_cast<double>(l.steps); });
}

Layer layer_of(Lowering& node, Cell cell) {
  Layer l;
  l.op.cell = cell;
  l.gates = cell == Cell::rnn ? 1 : cell == Cell::gru ? 3 : 4;
  l.op.clip = node.real("clip", 0);
  l.op.linear_before_reset = cell == Cell::gru && node.integer("linear_before_reset", 0) != 0;
  l.op.input_forget = cell == Cell::lstm && node.integer("input_forget", 0) != 0;
  l.batch_first = node.integer("layout", 0) != 0;
  l.x = node.input(0);
  l.w = node.input(1);
  l.r = node.input(2);
  l.bias = node.optional_input(3);
  l.lengths = node.optional_input(4);
  l.h = node.optional_input(5);
  if (cell == Cell::lstm) {
    l.c = node.optional_input(6);
    l.peepholes = node.optional_input(7);
  }
  node.check(node.rank(l.x) == 3 && node.rank(l.w) == 3 && node.rank(l.r) == 3,
             "X, W and R must have three axes");
  if (l.batch_first) {
    for (ValueId* const id : {&l.x, &l.h, &l.c}) *id = swap_first_two(node, *id);
  }
  l.steps = node.shape(l.x)[0];
  l.batch = node.shape(l.x)[1];
  l.hidden = node.shape(l.r)[2];
  l.directions = node.text("direction", "forward") == "bidirectional" ? 2 : 1;
  node.check(l.hidden > 0 && node.integer("hidden_size", l.hidden) == l.hidden,
             "hidden_size differs from the last axis of R, " + std::to_string(l.hidden));
  check(node, l);
  if (lengths_say_nothing(node, l)) l.lengths = kNone;
  return l;
}

ValueId sum(Lowering& node, ValueId a, ValueId b) { return node.emit_like(Binary{}, {a, b}, a); }

/// The biases that stand beside the products with the inputs, and that of r's product in the last gate of a gru
/// that is linear before the reset.
std::pair<ValueId, ValueId> biases(Lowering& node, const Layer& l, ValueId both) {
  if (both == kNone) return {kNone, kNone};
  const std::int64_t rows = l.gates * l.hidden, joint = rows - l.hidden;
  if (!l.op.linear_before_reset)
    return {sum(node, part(node, both, 0, 0, rows), part(node, both, 0, rows, 2 * rows)), kNone};
  const ValueId first = sum(node, part(node, both, 0, 0, joint), part(node, both, 0, rows, rows + joint));
  const ValueId last = part(node, both, 0, joint, rows);
  return {node.emit(Concat{0}, {first, last}, node.dtype(both), {rows}),
          part(node, both, 0, rows + joint, 2 * rows)};
}

/// y, last h and last c of direction `d`.
std::vector<ValueId> direction(Lowering& node, Layer l, std::int64_t d) {
  const std::int64_t rows = l.gates * l.hidden, features = node.shape(l.x)[2];
  const auto [bias, inner] = biases(node, l, entry(node, l.bias, d));
  const core::DType type = node.dtype(l.x);
  ValueId x = node.reshape(l.x, {l.steps * l.batch, features});
  MatMul product;
  product.transpose_b = true;
  x = node.emit(product, {x, weight_entry(node, l.w, d), bias}, type, {l.steps * l.batch, rows});
  x = node.reshape(x, {l.steps, l.batch, rows});
  const bool lstm = l.op.cell == Cell::lstm;
  return node.builder().emit(l.op,
                             {x, weight_entry(node, l.r, d), inner, entry(node, l.h, d), l.lengths,
                              entry(node, l.c, d), entry(node, l.peepholes, d)},
                             {{type, {l.steps, l.batch, l.hidden}, node.wants(0) || !node.wants(1)},
                              {type, {l.batch, l.hidden}, node.wants(1)},
                              {type, {l.batch, l.hidden}, lstm && node.wants(2)}},
                             node.label());
}

/// The directions' values side by side along a new axis.
ValueId join(Lowering& node, const std::vector<ValueId>& values, std::size_t axis) {
  core::Shape shape = node.shape(values[0]);
  shape.insert(shape.begin() + static_cast<std::ptrdiff_t>(axis), 1);
  std::vector<ValueId> inputs;
  for (const ValueId id : values) inputs.push_back(node.reshape(id, shape));
  if (inputs.size() == 1) return inputs[0];
  shape[axis] = static_cast<std::int64_t>(inputs.size());
  return node.emit(Concat{static_cast<std::int64_t>(axis)}, std::move(inputs), node.dtype(values[0]), shape);
}

template <Cell cell>
void recurrent(Lowering& node) {
  const Layer l = layer_of(node, cell);
  const std::string way = node.text("direction", "forward");
  node.check(way == "forward" || way == "reverse" || way == "bidirectional",
             "direction: expected forward, reverse or bidirectional, found '" + way + "'");
  const std::vector<std::string> names = activation_names(node, cell, l.directions);
  Activations activations(node);
  std::vector<std::vector<ValueId>> made(3);
  for (std::int64_t d = 0; d < l.directions; ++d) {
    Layer one = l;
    one.op.reverse = way == "reverse" || d == 1;
    const std::size_t count = names.size() / at(l.directions);
    for (std::size_t i = 0; i < count; ++i)
      one.op.activations[i] = activations.next(names[at(d) * count + i]);
    const std::vector<ValueId> values = direction(node, one, d);
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (values[i] != kNone) made[i].push_back(values[i]);
    }
  }
  for (std::size_t i = 0; i < made.size(); ++i) {
    if (!node.wants(i) || made[i].empty()) continue;
    // steps, directions, batch, h; batch, steps, directions, h; directions, batch, h; batch, directions, h
    if (l.batch_first && i == 0) {
      for (ValueId& id : made[i]) id = swap_first_two(node, id);
    }
    node.give(i, join(node, made[i], i == 0 ? (l.batch_first ? 2 : 1) : (l.batch_first ? 1 : 0)));
  }
}

}  // namespace

void add_recurrence_rules(Rules& rules) {
  rules["RNN"] = recurrent<Cell::rnn>;
  rules["GRU"] = recurrent<Cell::gru>;
  rules["LSTM"] = recurrent<Cell::lstm>;
}

}  // namespace rdquant::program
