// Sums of products of levels: ConvInteger, MatMulInteger.
#include <string>
#include <utility>

#include "program/lower/lowering.hpp"

namespace rdquant::program {
namespace {

using core::DType;

/// Levels and the level that stands for 0: none, or of a shape that broadcasts to theirs.
struct Levels {
  ValueId levels = kNone, zero = kNone;
};

/// The node's levels at input `i` with the zero points at input `zero`.
Levels levels_at(Lowering& node, std::size_t i, std::size_t zero) {
  const Levels found{node.input(i), node.optional_input(zero)};
  const DType dtype = node.dtype(found.levels);
  if (dtype != DType::u8 && dtype != DType::i8) {
    node.unsupported("levels of type " + std::string(core::dtype_name(dtype)));
  }
  node.check(found.zero == kNone || node.dtype(found.zero) == dtype,
             "zero points of another type than the levels");
  return found;
}

/// Gives the zero points of `x` the shape `to` where there are several.
void shape_zeros(Lowering& node, Levels& x, core::Shape to) {
  if (x.zero == kNone) return;
  const core::Shape given = node.shape(x.zero);
  const bool one = core::element_count(given) == 1;
  if (one) to = {};
  node.check(core::element_count(given) == core::element_count(to) && broadcasts_to(to, node.shape(x.levels)),
             "zero points of shape " + core::shape_text(given) + " do not fit levels of shape " +
                 core::shape_text(node.shape(x.levels)));
  x.zero = node.reshape(x.zero, std::move(to));
}

/// Levels − zero as float64.
ValueId apart(Lowering& node, const Levels& x) {
  const auto wide = [&](ValueId id) { return node.emit(Cast{}, {id}, DType::f64, node.shape(id)); };
  const ValueId levels = wide(x.levels);
  if (x.zero == kNone) return levels;
  return node.emit_like(Binary{BinaryFunction::sub, {}}, {levels, wide(x.zero)}, levels);
}

/// The product of x − zero and w − zero, int32 of shape `out`. It is computed in float64, which is exact:
/// 2^36 products of two levels stay below 2^53.
ValueId exact_product(Lowering& node, Operation product, const Levels& x, const Levels& w, core::Shape out) {
  const ValueId sums =
      node.emit(std::move(product), {apart(node, x), apart(node, w)}, DType::f64, std::move(out));
  return node.emit(Cast{}, {sums}, DType::i32, node.shape(sums));
}

void conv_integer(Lowering& node) {
  Levels x = levels_at(node, 0, 2), w = levels_at(node, 1, 3);
  auto [op, out] = convolution_of(node, x.levels, w.levels);
  shape_zeros(node, x, {});
  core::Shape filters(node.shape(w.levels).size(), 1);
  filters[0] = out[1];
  shape_zeros(node, w, std::move(filters));
  node.give(0, exact_product(node, std::move(op), x, w, std::move(out)));
}

void matmul_integer(Lowering& node) {
  Levels a = levels_at(node, 0, 2), b = levels_at(node, 1, 3);
  Matrices m = matrices_of(node, a.levels, b.levels);
  a.levels = m.a;
  b.levels = m.b;
  // A vector of zero points is one per row of a, one per column of b.
  const auto several = [&](ValueId zero, bool rows) {
    core::Shape shape = zero == kNone ? core::Shape{} : node.shape(zero);
    if (rows && shape.size() == 1) shape.push_back(1);
    return shape;
  };
  shape_zeros(node, a, several(a.zero, true));
  shape_zeros(node, b, several(b.zero, false));
  const ValueId y = exact_product(node, MatMul{}, a, b, std::move(m.out));
  node.give(0, node.reshape(y, std::move(m.squeezed)));
}

}  // namespace

void add_int8_rules(Rules& rules) {
  rules["ConvInteger"] = conv_integer;
  rules["MatMulInteger"] = matmul_integer;
}

}  // namespace rdquant::program
