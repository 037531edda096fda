// MatMul, Gemm.
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
}

}  // namespace rdquant::program
