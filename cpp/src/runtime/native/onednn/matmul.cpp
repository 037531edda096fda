#include <algorithm>

#include "runtime/native/onednn/memory.hpp"
#include "runtime/native/onednn/rules.hpp"

namespace rdquant::runtime::native::onednn {
namespace {

using core::Shape;
using dnnl::memory;
using program::kNone;
using program::MatMul;
using program::Role;
using program::Step;
using program::ValueId;

/// The operand as `axes` axes of a matrix product, its last two swapped where it is transposed.
memory::desc operand(const Shape& shape, std::size_t axes, bool transposed) {
  Shape dims(axes - shape.size(), 1);
  dims.insert(dims.end(), shape.begin(), shape.end());
  memory::desc plain = describe_plain(dims);
  if (!transposed) return plain;
  std::vector<int> order(axes);
  for (std::size_t i = 0; i < axes; ++i) order[i] = static_cast<int>(i);
  std::swap(order[axes - 1], order[axes - 2]);
  return plain.permute_axes(order);
}

bool takes(const Builder& builder, const Step& step) {
  const auto& matmul = std::get<MatMul>(step.operation);
  for (const ValueId id : step.inputs) {
    if (id != kNone &&
        (builder.value(id).dtype != core::DType::f32 || core::element_count(builder.value(id).shape) == 0)) {
      return false;
    }
  }
  const ValueId c = program::input(step, 2);
  return builder.value(step.outputs[0]).shape.size() <= 6 && (c == kNone || matmul.beta == 1);
}

/// alpha, then c and the residual as binary operands, then or before them the activation.
struct Chain {
  dnnl::post_ops entries;
  std::vector<std::pair<int, ValueId>> added;
};

std::optional<Chain> chain_of(const Builder& builder, const Step& step) {
  const auto& matmul = std::get<MatMul>(step.operation);
  const std::size_t axes = builder.value(step.outputs[0]).shape.size();
  Chain chain;
  if (matmul.alpha != 1) chain.entries.append_eltwise(dnnl::algorithm::eltwise_linear, matmul.alpha, 0);
  const auto add = [&](ValueId id) {
    if (id == kNone) return;
    chain.added.emplace_back(chain.entries.len(), id);
    chain.entries.append_binary(dnnl::algorithm::binary_add,
                                describe_plain(aligned(builder.value(id).shape, axes)));
  };
  add(program::input(step, 2));
  if (!matmul.residual_last) add(program::input(step, 3));
  if (!append_activation(chain.entries, matmul.activation)) return std::nullopt;
  if (matmul.residual_last) add(program::input(step, 3));
  return chain;
}

}  // namespace

bool build_matmul(Builder& builder, const Step& step) {
  if (!std::holds_alternative<MatMul>(step.operation) || !takes(builder, step)) return false;
  const auto& matmul = std::get<MatMul>(step.operation);
  const ValueId a = step.inputs[0];
  const ValueId b = step.inputs[1];
  const Shape& shape = builder.value(step.outputs[0]).shape;
  const auto chain = chain_of(builder, step);
  if (!chain) return false;
  auto attr = attributes();
  attr.set_post_ops(chain->entries);
  const auto left = operand(builder.value(a).shape, shape.size(), matmul.transpose_a);
  const auto right = operand(builder.value(b).shape, shape.size(), matmul.transpose_b);
  // a constant matrix may take the primitive's own layout
  const bool packs = builder.value(b).role == Role::constant && builder.value(b).shape.size() == 2;
  const memory::desc any(right.get_dims(), memory::data_type::f32, memory::format_tag::any);
  using Primitive = dnnl::matmul;
  const auto desc = try_make([&] {
    return Primitive::primitive_desc(engine(), left, packs ? any : right, describe_plain(shape), attr);
  });
  if (!desc) return false;
  std::vector<Operand> operands = {
      {DNNL_ARG_SRC, left, builder.read(a, Layout::plain)},
      {DNNL_ARG_WEIGHTS, desc->weights_desc(),
       packs ? pack(builder, b, right, desc->weights_desc()) : builder.read(b, Layout::plain)}};
  for (const auto& [entry, id] : chain->added) {
    operands.push_back({DNNL_ARG_ATTR_MULTIPLE_POST_OP(entry) | DNNL_ARG_SRC_1,
                        describe_plain(aligned(builder.value(id).shape, shape.size())),
                        builder.read(id, Layout::plain)});
  }
  operands.push_back({DNNL_ARG_DST, desc->dst_desc(), builder.write(step.outputs[0], Layout::plain)});
  emit(builder, *desc, Primitive(*desc), operands, Layout::plain);
  return true;
}

}  // namespace rdquant::runtime::native::onednn
