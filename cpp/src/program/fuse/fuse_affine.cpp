// y · scale + shift, per channel, into the weights and bias of what makes y.
#include <algorithm>
#include <utility>
#include <vector>

#include "program/fuse/arithmetic.hpp"
#include "program/fuse/rewriter.hpp"

namespace rdquant::program {

Affine of_batch_norm(Rewriter& rewriter, const Step& norm) {
  Arithmetic make(rewriter, norm.node);
  const float epsilon = std::get<BatchNormalization>(norm.operation).epsilon;
  const ValueId variance = norm.inputs[4], mean = norm.inputs[3];
  const ValueId raised =
      make.binary(BinaryFunction::add, variance, make.scalar(variance, static_cast<double>(epsilon)));
  const ValueId scale = make.binary(BinaryFunction::div, norm.inputs[1], make.unary(Function::sqrt, raised));
  const ValueId product = make.binary(BinaryFunction::mul, mean, scale);
  return {scale, make.binary(BinaryFunction::sub, norm.inputs[2], product)};
}

namespace {

/// The axis of `output` that a bias runs along, and its size: 1 of images, the last of products.
std::size_t channel_axis(const Step& step, const core::Shape& output) {
  return std::holds_alternative<MatMul>(step.operation) ? output.size() - 1 : 1;
}

/// True for a constant of one element, or of one per channel, that broadcasts over `output`.
bool per_channel(const core::Shape& constant, const core::Shape& output, std::size_t axis) {
  if (constant.size() > output.size()) return false;
  const std::size_t missing = output.size() - constant.size();
  for (std::size_t i = 0; i < constant.size(); ++i) {
    if (constant[i] != 1 && (i + missing != axis || constant[i] != output[axis])) return false;
  }
  return true;
}

/// What a product or sum with a constant does per channel; nullopt where it is something else.
std::optional<Affine> of_binary(Rewriter& rewriter, const Step& reader, ValueId made, std::size_t axis) {
  const auto& op = std::get<Binary>(reader.operation);
  const bool first = reader.inputs[0] == made;
  const ValueId constant = reader.inputs[first ? 1 : 0];
  const core::Shape output = rewriter.shape(made);
  if (op.activation != Activation{} || !rewriter.is_constant(constant) ||
      rewriter.shape(reader.outputs[0]) != output || !per_channel(rewriter.shape(constant), output, axis)) {
    return std::nullopt;
  }
  Arithmetic make(rewriter, reader.node);
  const core::Shape channels = {output[axis]};
  const std::int64_t count = core::element_count(rewriter.shape(constant));
  const ValueId flat = make.expand(make.reshape(constant, {count}), channels);
  switch (op.function) {
    case BinaryFunction::add:
      return Affine{kNone, flat};
    case BinaryFunction::mul:
      return Affine{flat, kNone};
    case BinaryFunction::sub:
      if (first) return Affine{kNone, make.unary(Function::neg, flat)};
      return Affine{make.expand(make.reshape(make.scalar(flat, -1), {1}), channels), flat};
    case BinaryFunction::div:
      if (first) return Affine{make.unary(Function::reciprocal, flat), kNone};
      return std::nullopt;
    default:
      return std::nullopt;
  }
}

/// Shape in which a vector over output channels multiplies the weights; empty where no such shape exists.
core::Shape weight_shape(const Step& step, const core::Shape& weights, std::int64_t channels) {
  core::Shape shape(weights.size(), 1);
  if (std::holds_alternative<Convolution>(step.operation) ||
      std::holds_alternative<GroupNormalization>(step.operation)) {
    shape[0] = channels;
  } else if (const auto* transposed = std::get_if<TransposedConvolution>(&step.operation)) {
    if (transposed->groups != 1) return {};
    shape[1] = channels;
  } else {
    const bool rows = std::get<MatMul>(step.operation).transpose_b;
    if (weights.size() < 2) return {};
    shape[weights.size() - (rows ? 2 : 1)] = channels;
  }
  return shape;
}

struct Parts {
  ValueId weights = kNone, bias = kNone;
};

/// True where step `i` has constant weights, a bias per channel or none, and nothing after its sum.
bool takes_affine(Rewriter& rewriter, const Step& step, std::int64_t channels) {
  const auto plain = [&](const Activation& activation) {
    return activation == Activation{} && input(step, 3) == kNone && rewriter.is_constant(step.inputs[1]) &&
           (input(step, 2) == kNone || rewriter.is_constant(input(step, 2)));
  };
  if (const auto* conv = std::get_if<Convolution>(&step.operation)) return plain(conv->activation);
  if (const auto* conv = std::get_if<TransposedConvolution>(&step.operation)) return plain(conv->activation);
  if (const auto* norm = std::get_if<GroupNormalization>(&step.operation)) return plain(norm->activation);
  const auto* product = std::get_if<MatMul>(&step.operation);
  if (product == nullptr || !plain(product->activation)) return false;
  if (input(step, 2) == kNone) return true;
  const core::Shape& bias = rewriter.shape(step.inputs[2]);
  return !bias.empty() && bias.back() == channels && core::element_count(bias) == channels;
}

/// weights · scale; where weights are levels the scale becomes theirs, so that they stay levels.
ValueId scaled_weights(Rewriter& rewriter, Arithmetic& make, ValueId weights, ValueId scale,
                       const core::Shape& shape) {
  const std::vector<Step>& prologue = rewriter.program().prologue;
  const auto maker = std::ranges::find_if(prologue, [&](const Step& s) { return s.outputs[0] == weights; });
  const auto* levels = maker == prologue.end() ? nullptr : std::get_if<Dequantize>(&maker->operation);
  const auto filters = std::ranges::find_if(shape, [](std::int64_t n) { return n != 1; }) - shape.begin();
  const core::Shape whole = rewriter.shape(scale);
  if (levels == nullptr || rewriter.shape(maker->inputs[1]) != whole || levels->axis != filters)
    return make.binary(BinaryFunction::mul, weights, make.reshape(scale, shape));
  Step same = *maker;
  same.inputs[1] = make.binary(BinaryFunction::mul, same.inputs[1], scale);
  return rewriter.builder().emit(same.operation, same.inputs, rewriter.dtype(weights),
                                 rewriter.shape(weights), same.node);
}

/// weights · scale, bias · scale + shift.
std::optional<Parts> applied(Rewriter& rewriter, const Step& step, const Affine& affine,
                             std::int64_t channels) {
  Arithmetic make(rewriter, step.node);
  Parts parts{step.inputs[1], input(step, 2)};
  if (parts.bias != kNone) parts.bias = make.reshape(parts.bias, {channels});
  if (affine.scale != kNone) {
    const core::Shape shape = weight_shape(step, rewriter.shape(parts.weights), channels);
    if (shape.empty()) return std::nullopt;
    parts.weights = scaled_weights(rewriter, make, parts.weights, affine.scale, shape);
    if (parts.bias != kNone) parts.bias = make.binary(BinaryFunction::mul, parts.bias, affine.scale);
  }
  if (affine.shift != kNone) {
    parts.bias =
        parts.bias == kNone ? affine.shift : make.binary(BinaryFunction::add, parts.bias, affine.shift);
  }
  return parts;
}

/// A product's β·c as a plain bias, so that scale and shift reach it.
bool has_plain_scalars(const Step& step) {
  const auto* product = std::get_if<MatMul>(&step.operation);
  return product == nullptr || (product->alpha == 1 && product->beta == 1);
}

/// Where `made` is a product's rows, reshaped to a matrix: reshapes what is multiplied instead, so that the
/// product makes `made` itself.
void multiply_rows(Rewriter& rewriter, ValueId made) {
  const auto reshaped = rewriter.sole_maker<Reshape>(made);
  if (!reshaped || rewriter.shape(made).size() != 2) return;
  const ValueId product = rewriter.step(*reshaped).inputs[0];
  const auto maker = rewriter.sole_maker<MatMul>(product);
  if (!maker) return;
  const Step before = rewriter.step(*maker);
  const core::Shape a = rewriter.shape(before.inputs[0]), y = rewriter.shape(made);
  const bool rows = !std::get<MatMul>(before.operation).transpose_a && a.size() > 2 &&
                    rewriter.shape(before.inputs[1]).size() == 2 && rewriter.shape(product).back() == y[1];
  const bool flat_bias = input(before, 2) == kNone || rewriter.shape(before.inputs[2]).size() == 1;
  if (!rows || !flat_bias || input(before, 3) != kNone) return;
  rewriter.program().values[static_cast<std::size_t>(product)].shape = {y[0], a.back()};
  rewriter.replace(*maker, Reshape{}, {before.inputs[0]});
  std::vector<ValueId> inputs = before.inputs;
  inputs[0] = product;
  rewriter.replace(*reshaped, before.operation, std::move(inputs));
}

/// The convolution, product or group norm that alone makes `made` and takes a scale and a shift per channel.
std::optional<std::size_t> affine_maker(Rewriter& rewriter, ValueId made) {
  if (made == kNone || rewriter.is_constant(made) || rewriter.readers(made) != 1) return std::nullopt;
  const auto maker = rewriter.maker(made);
  if (!maker) return std::nullopt;
  const core::Shape& output = rewriter.shape(made);
  const Step& before = rewriter.step(*maker);
  const bool known = std::holds_alternative<Convolution>(before.operation) ||
                     std::holds_alternative<TransposedConvolution>(before.operation) ||
                     std::holds_alternative<GroupNormalization>(before.operation) ||
                     std::holds_alternative<MatMul>(before.operation);
  if (!known || output.size() < 2 || rewriter.dtype(made) != core::DType::f32 || !has_plain_scalars(before))
    return std::nullopt;
  return takes_affine(rewriter, before, output[channel_axis(before, output)]) ? maker : std::nullopt;
}

/// What a batch norm, or a product or sum with a constant, does to `made` along `axis`.
struct Change {
  Affine affine;
  Activation activation;
};

std::optional<Change> change_of(Rewriter& rewriter, std::size_t reader, ValueId made, std::size_t axis) {
  const Step after = rewriter.step(reader);
  if (const auto* norm = std::get_if<BatchNormalization>(&after.operation)) {
    if (axis != 1) return std::nullopt;
    for (std::size_t k = 1; k < 5; ++k) {
      if (!rewriter.is_constant(after.inputs[k])) return std::nullopt;
    }
    return Change{of_batch_norm(rewriter, after), norm->activation};
  }
  const auto affine = of_binary(rewriter, after, made, axis);
  if (!affine) return std::nullopt;
  return Change{*affine, {}};
}

/// The step with the change in its weights and bias.
std::optional<Step> changed(Rewriter& rewriter, const Step& before, const Change& change,
                            std::int64_t channels) {
  const auto parts = applied(rewriter, before, change.affine, channels);
  if (!parts) return std::nullopt;
  Step merged = before;
  merged.inputs = {before.inputs[0], parts->weights, parts->bias};
  std::visit(
      [&](auto& op) {
        if constexpr (requires { op.activation; }) op.activation = change.activation;
      },
      merged.operation);
  return merged;
}

bool into_maker(Rewriter& rewriter, std::size_t reader, ValueId made) {
  const auto maker = affine_maker(rewriter, made);
  if (!maker) return false;
  const Step before = rewriter.step(*maker);
  const core::Shape output = rewriter.shape(made);
  const std::size_t axis = channel_axis(before, output);
  const auto change = change_of(rewriter, reader, made, axis);
  if (!change) return false;
  auto merged = changed(rewriter, before, *change, output[axis]);
  if (!merged) return false;
  rewriter.merge(*maker, reader, std::move(*merged));
  return true;
}

/// Entries `start` and on of a vector over channels, or kNone of none.
ValueId cut(Rewriter& rewriter, ValueId vector, std::int64_t start, std::int64_t count,
            const std::string& node) {
  if (vector == kNone) return kNone;
  return rewriter.builder().emit(Slice{{start}, {1}}, {vector}, core::DType::f32, {count}, node);
}

/// The same where `made` concatenates the channels of several makers: each takes its share.
bool into_parts(Rewriter& rewriter, std::size_t reader, ValueId made) {
  const auto joint = made == kNone ? std::nullopt : rewriter.sole_maker<Concat>(made);
  if (!joint || std::get<Concat>(rewriter.step(*joint).operation).axis != 1) return false;
  const std::vector<ValueId> parts = rewriter.step(*joint).inputs;
  for (const ValueId part : parts) {
    const auto maker = affine_maker(rewriter, part);
    if (!maker || channel_axis(rewriter.step(*maker), rewriter.shape(part)) != 1) return false;
  }
  const auto whole = change_of(rewriter, reader, made, 1);
  if (!whole) return false;
  std::vector<Step> merged;
  std::int64_t start = 0;
  for (const ValueId part : parts) {
    const Step before = rewriter.step(*rewriter.maker(part));
    const std::int64_t count = rewriter.shape(part)[1];
    const Change change{{cut(rewriter, whole->affine.scale, start, count, before.node),
                         cut(rewriter, whole->affine.shift, start, count, before.node)},
                        whole->activation};
    auto step = changed(rewriter, before, change, count);
    if (!step) return false;
    merged.push_back(std::move(*step));
    start += count;
  }
  for (std::size_t k = 0; k < parts.size(); ++k)
    rewriter.replace(*rewriter.maker(parts[k]), merged[k].operation, merged[k].inputs);
  rewriter.alias(reader, rewriter.step(reader).outputs[0], made);
  return true;
}

/// conv(x · scale + shift): only without pads, which a shift would have to reach, and without groups.
bool norm_before(Rewriter& rewriter, std::size_t i) {
  const Step conv = rewriter.step(i);
  const auto& op = std::get<Convolution>(conv.operation);
  const auto maker = rewriter.sole_maker<BatchNormalization>(conv.inputs[0]);
  if (!maker || op.groups != 1 || rewriter.dtype(conv.inputs[0]) != core::DType::f32 ||
      !rewriter.is_constant(conv.inputs[1]))
    return false;
  if (input(conv, 2) != kNone && !rewriter.is_constant(input(conv, 2))) return false;
  for (std::size_t k = 0; k < op.window.kernel.size(); ++k) {
    if (op.window.pads_begin[k] != 0 || op.window.pads_end[k] != 0) return false;
  }
  const Step norm = rewriter.step(*maker);
  if (std::get<BatchNormalization>(norm.operation).activation != Activation{}) return false;
  for (std::size_t k = 1; k < 5; ++k) {
    if (!rewriter.is_constant(norm.inputs[k])) return false;
  }
  const Affine affine = of_batch_norm(rewriter, norm);
  Arithmetic make(rewriter, conv.node);
  core::Shape along(rewriter.shape(conv.inputs[1]).size(), 1);
  along[1] = rewriter.shape(conv.inputs[1])[1];
  const ValueId weights = make.binary(BinaryFunction::mul, conv.inputs[1], make.reshape(affine.scale, along));
  ValueId bias =
      make.sum_rows(make.binary(BinaryFunction::mul, conv.inputs[1], make.reshape(affine.shift, along)));
  if (input(conv, 2) != kNone) bias = make.binary(BinaryFunction::add, conv.inputs[2], bias);
  Step merged = conv;
  if (merged.inputs.size() < 3) merged.inputs.resize(3, kNone);
  merged.inputs[0] = norm.inputs[0];
  merged.inputs[1] = weights;
  merged.inputs[2] = bias;
  rewriter.merge(*maker, i, std::move(merged));
  return true;
}

}  // namespace

bool fuse_affine(Rewriter& rewriter, std::size_t i) {
  const Operation& operation = rewriter.step(i).operation;
  if (std::holds_alternative<Convolution>(operation)) return norm_before(rewriter, i);
  if (std::holds_alternative<BatchNormalization>(operation)) {
    const ValueId x = rewriter.step(i).inputs[0];
    multiply_rows(rewriter, x);
    return into_maker(rewriter, i, x) || into_parts(rewriter, i, x);
  }
  if (!std::holds_alternative<Binary>(operation)) return false;
  const ValueId a = rewriter.step(i).inputs[0], b = rewriter.step(i).inputs[1];
  return into_maker(rewriter, i, a) || into_maker(rewriter, i, b) || into_parts(rewriter, i, a) ||
         into_parts(rewriter, i, b);
}

bool fuse_pad(Rewriter& rewriter, std::size_t i) {
  const auto* conv = std::get_if<Convolution>(&rewriter.step(i).operation);
  if (conv == nullptr) return false;
  const auto maker = rewriter.sole_maker<Pad>(rewriter.step(i).inputs[0]);
  if (!maker) return false;
  const Step pad = rewriter.step(*maker);
  const auto& amounts = std::get<Pad>(pad.operation);
  const ValueId fill = input(pad, 1);
  if (amounts.mode != PadMode::constant || (fill != kNone && rewriter.scalar(fill) != 0.0)) return false;
  Step merged = rewriter.step(i);
  Window& window = std::get<Convolution>(merged.operation).window;
  for (std::size_t k = 0; k < amounts.begins.size(); ++k) {
    if (amounts.begins[k] < 0 || amounts.ends[k] < 0) return false;
    if (k < 2 && (amounts.begins[k] != 0 || amounts.ends[k] != 0)) return false;
    if (k < 2) continue;
    window.pads_begin[k - 2] += amounts.begins[k];
    window.pads_end[k - 2] += amounts.ends[k];
  }
  if (fill != kNone) rewriter.bake(fill);
  merged.inputs[0] = pad.inputs[0];
  rewriter.merge(*maker, i, std::move(merged));
  return true;
}

}  // namespace rdquant::program
