// Batch, instance, group, layer and local response normalization; softmax.
#include <utility>

#include "program/lower/lowering.hpp"

namespace rdquant::program {
namespace {

void check_channels(Lowering& node, std::initializer_list<ValueId> values, std::int64_t channels) {
  for (const ValueId id : values) {
    node.check(node.shape(id) == core::Shape{channels}, "a parameter has shape " +
                                                            core::shape_text(node.shape(id)) + ", wanted [" +
                                                            std::to_string(channels) + "]");
  }
}

/// running · momentum + now · (1 − momentum)
ValueId running(Lowering& node, ValueId before, ValueId now, float momentum) {
  const auto scaled = [&](ValueId value, float factor) {
    const ValueId number = node.builder().add_scalar(node.dtype(value), static_cast<double>(factor));
    return node.emit_like(Binary{BinaryFunction::mul, {}}, {value, number}, value);
  };
  return node.emit_like(Binary{}, {scaled(before, momentum), scaled(now, 1 - momentum)}, before);
}

/// With mean and variance of the input itself: what standardizes the weights of normalizer-free networks.
void batch_normalization_in_training(Lowering& node) {
  const ValueId x = node.input(0);
  node.check(node.rank(x) >= 2, "the input needs a channel axis");
  const std::int64_t channels = node.shape(x)[1];
  check_channels(node, {node.input(1), node.input(2), node.input(3), node.input(4)}, channels);
  const core::DType dtype = node.dtype(x);
  Reduce mean{ReduceFunction::mean, {}};
  core::Shape kept(node.shape(x).size(), 1);
  kept[1] = channels;
  for (std::int64_t a = 0; a < node.rank(x); ++a) {
    if (a != 1) mean.axes.push_back(a);
  }
  const ValueId mean_now = node.emit(mean, {x}, dtype, kept);
  const ValueId centred = node.emit_like(Binary{BinaryFunction::sub, {}}, {x, mean_now}, x);
  const ValueId square = node.emit_like(Binary{BinaryFunction::mul, {}}, {centred, centred}, x);
  const ValueId variance_now = node.emit(mean, {square}, dtype, kept);
  const ValueId means = node.reshape(mean_now, {channels}),
                variances = node.reshape(variance_now, {channels});
  BatchNormalization op;
  op.epsilon = node.real("epsilon", 1e-5F);
  node.give(0, node.emit_like(op, {x, node.input(1), node.input(2), means, variances}, x));
  const float momentum = node.real("momentum", 0.9F);
  if (node.wants(1)) node.give(1, running(node, node.input(3), means, momentum));
  if (node.wants(2)) node.give(2, running(node, node.input(4), variances, momentum));
}

void batch_normalization(Lowering& node) {
  bool more = false;
  for (std::size_t i = 1; i < node.node().outputs.size(); ++i) more = more || node.wants(i);
  // before opset 14 it is the outputs that say so
  if (node.integer("training_mode", 0) != 0 || (more && node.opset() < 14))
    return batch_normalization_in_training(node);
  if (more) node.unsupported("outputs of training");
  const ValueId x = node.input(0), scale = node.input(1), bias = node.input(2), mean = node.input(3),
                variance = node.input(4);
  if (node.integer("spatial", 1) == 0) node.unsupported("spatial = 0");
  // A vector of numbers is a batch with one channel.
  const std::int64_t channels = node.rank(x) < 2 ? 1 : node.shape(x)[1];
  check_channels(node, {scale, bias, mean, variance}, channels);
  const core::Shape shape = node.shape(x);
  const ValueId input = node.rank(x) < 2 ? node.reshape(x, {core::element_count(shape), 1}) : x;
  BatchNormalization op;
  op.epsilon = node.real("epsilon", 1e-5F);
  const ValueId y = node.emit_like(op, {input, scale, bias, mean, variance}, input);
  node.give(0, node.reshape(y, shape));
}

void instance_normalization(Lowering& node) {
  const ValueId x = node.input(0), scale = node.input(1), bias = node.input(2);
  node.check(node.rank(x) >= 2, "the input needs a channel axis");
  check_channels(node, {scale, bias}, node.shape(x)[1]);
  GroupNormalization op;
  op.groups = node.shape(x)[1];
  op.epsilon = node.real("epsilon", 1e-5F);
  node.give(0, node.emit_like(op, {x, scale, bias}, x));
}

/// [groups] → [channels], each value for all channels of its group (ONNX before opset 21).
ValueId per_channel(Lowering& node, ValueId parameter, std::int64_t groups, std::int64_t channels) {
  if (node.opset() >= 21 || groups == channels || node.shape(parameter) == core::Shape{channels})
    return parameter;
  const core::DType dtype = node.dtype(parameter);
  const ValueId column = node.reshape(parameter, {groups, 1});
  const ValueId wide = node.emit(Tile{{1, channels / groups}}, {column}, dtype, {groups, channels / groups});
  return node.reshape(wide, {channels});
}

void group_normalization(Lowering& node) {
  const ValueId x = node.input(0);
  node.check(node.rank(x) >= 2, "the input needs a channel axis");
  const std::int64_t channels = node.shape(x)[1];
  GroupNormalization op;
  op.groups = node.integer("num_groups", 1);
  op.epsilon = node.real("epsilon", 1e-5F);
  node.check(op.groups >= 1 && channels % op.groups == 0,
             std::to_string(channels) + " channels do not form " + std::to_string(op.groups) + " groups");
  const ValueId scale = per_channel(node, node.input(1), op.groups, channels);
  const ValueId bias = per_channel(node, node.input(2), op.groups, channels);
  check_channels(node, {scale, bias}, channels);
  node.give(0, node.emit_like(op, {x, scale, bias}, x));
}

void layer(Lowering& node, bool root_mean_square) {
  const ValueId x = node.input(0), scale = node.optional_input(1);
  const ValueId bias = root_mean_square ? kNone : node.optional_input(2);
  LayerNormalization op;
  op.axis = node.axis(node.integer("axis", -1), node.rank(x));
  op.epsilon = node.real("epsilon", 1e-5F);
  op.root_mean_square = root_mean_square;
  const core::Shape normalized(node.shape(x).begin() + op.axis, node.shape(x).end());
  for (const ValueId id : {scale, bias}) {
    node.check(id == kNone || broadcasts_to(node.shape(id), normalized),
               "scale and bias must broadcast to " + core::shape_text(normalized));
  }
  core::Shape moments = node.shape(x);
  for (std::size_t i = index(static_cast<ValueId>(op.axis)); i < moments.size(); ++i) moments[i] = 1;
  if (root_mean_square) {
    node.give(0, node.emit_like(op, {x, scale}, x));
    return;
  }
  node.give_all(op, {x, scale, bias},
                {{node.dtype(x), node.shape(x)}, {core::DType::f32, moments}, {core::DType::f32, moments}});
}

void lp_normalization(Lowering& node) {
  const ValueId x = node.input(0);
  LpNormalization op;
  op.axis = node.axis(node.integer("axis", -1), node.rank(x));
  op.p = node.integer("p", 2);
  if (op.p != 1 && op.p != 2) node.unsupported("p = " + std::to_string(op.p) + "; 1 and 2 are allowed");
  node.give(0, node.emit_like(op, {x}, x));
}

void local_response(Lowering& node) {
  const ValueId x = node.input(0);
  LocalResponseNormalization op;
  op.size = node.integer("size", 1);
  op.alpha = node.real("alpha", 1e-4F);
  op.beta = node.real("beta", 0.75F);
  op.bias = node.real("bias", 1);
  node.check(node.rank(x) >= 2 && op.size >= 1, "the input needs channels, size must be at least 1");
  node.give(0, node.emit_like(op, {x}, x));
}

/// (x − mean) / (standard deviation + 1e-9) over the axes (ONNX's function body).
void mean_variance(Lowering& node) {
  const ValueId x = node.input(0);
  const Reduce mean{ReduceFunction::mean, node.axes(node.integers("axes", {0, 2, 3}), node.rank(x))};
  core::Shape kept = node.shape(x);
  for (const std::int64_t a : mean.axes) kept[static_cast<std::size_t>(a)] = 1;
  const core::DType dtype = node.dtype(x);
  const ValueId centred =
      node.emit_like(Binary{BinaryFunction::sub, {}}, {x, node.emit(mean, {x}, dtype, kept)}, x);
  const ValueId square = node.emit_like(Binary{BinaryFunction::mul, {}}, {centred, centred}, x);
  const ValueId deviation =
      node.emit(Unary{{Function::sqrt}}, {node.emit(mean, {square}, dtype, kept)}, dtype, kept);
  const ValueId tiny = node.builder().add_scalar(dtype, 1e-9);
  const ValueId divisor = node.emit(Binary{}, {deviation, tiny}, dtype, kept);
  node.give(0, node.emit_like(Binary{BinaryFunction::div, {}}, {centred, divisor}, x));
}

/// Before opset 13 all axes from `axis` on are taken together.
void softmax(Lowering& node, bool logarithm) {
  const ValueId x = node.input(0);
  const bool together = node.opset() < 13;
  const core::Shape shape = node.shape(x);
  const std::int64_t rank = node.rank(x);
  if (rank == 0) {  // one number: its share is 1
    node.give(0,
              node.reshape(node.emit(Softmax{0, logarithm}, {node.reshape(x, {1})}, node.dtype(x), {1}), {}));
    return;
  }
  const std::int64_t axis = node.axis(node.integer("axis", together ? 1 : -1), rank);
  if (!together || axis == rank - 1) {
    node.give(0, node.emit_like(Softmax{axis, logarithm}, {x}, x));
    return;
  }
  const std::int64_t inner = core::element_count(std::span(shape).subspan(static_cast<std::size_t>(axis)));
  const std::int64_t outer = core::element_count(std::span(shape).first(static_cast<std::size_t>(axis)));
  const ValueId flat = node.reshape(x, {outer, inner});
  node.give(0, node.reshape(node.emit_like(Softmax{1, logarithm}, {flat}, flat), shape));
}

/// 1 at the first largest value along the axis, 0 elsewhere.
void hardmax(Lowering& node) {
  const ValueId x = node.input(0);
  core::Shape shape = node.shape(x);
  const bool together = node.opset() < 13;
  std::int64_t axis = node.axis(node.integer("axis", together ? 1 : -1), node.rank(x));
  ValueId flat = x;
  if (together) {
    const std::int64_t inner = core::element_count(std::span(shape).subspan(static_cast<std::size_t>(axis)));
    const std::int64_t outer = core::element_count(std::span(shape).first(static_cast<std::size_t>(axis)));
    flat = node.reshape(x, {outer, inner});
    axis = 1;
  }
  core::Shape without = node.shape(flat);
  without.erase(without.begin() + axis);
  const ValueId largest = node.emit(ArgExtreme{true, axis, false}, {flat}, core::DType::i64, without);
  const ValueId off = node.builder().add_scalar(node.dtype(x), 0),
                on = node.builder().add_scalar(node.dtype(x), 1);
  const ValueId values =
      node.emit(Concat{0}, {node.reshape(off, {1}), node.reshape(on, {1})}, node.dtype(x), {2});
  node.give(0, node.reshape(node.emit_like(OneHot{axis}, {largest, values}, flat), shape));
}

}  // namespace

void add_normalization_rules(Rules& rules) {
  rules["BatchNormalization"] = batch_normalization;
  rules["InstanceNormalization"] = instance_normalization;
  rules["GroupNormalization"] = group_normalization;
  rules["LayerNormalization"] = [](Lowering& node) { layer(node, false); };
  rules["RMSNormalization"] = [](Lowering& node) { layer(node, true); };
  rules["LpNormalization"] = lp_normalization;
  rules["LRN"] = local_response;
  rules["MeanVarianceNormalization"] = mean_variance;
  rules["Softmax"] = [](Lowering& node) { softmax(node, false); };
  rules["LogSoftmax"] = [](Lowering& node) { softmax(node, true); };
  rules["Hardmax"] = hardmax;
}

}  // namespace rdquant::program
