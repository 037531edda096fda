#pragma once

#include <string>
#include <utility>

#include "program/fuse/rewriter.hpp"

namespace rdquant::program {

/// Constants of shape [channels], or none.
struct Affine {
  ValueId scale = kNone, shift = kNone;
};

/// Elementwise constants into the prologue.
class Arithmetic {
 public:
  Arithmetic(Rewriter& rewriter, std::string node) : builder_(rewriter.builder()), node_(std::move(node)) {}

  ValueId binary(BinaryFunction function, ValueId a, ValueId b) { return binary(function, a, b, shape(a)); }
  ValueId binary(BinaryFunction function, ValueId a, ValueId b, core::Shape shape) {
    return builder_.emit(Binary{function, {}}, {a, b}, dtype(a), std::move(shape), node_);
  }
  ValueId unary(Function function, ValueId a) {
    return builder_.emit(Unary{{function}}, {a}, dtype(a), shape(a), node_);
  }
  ValueId reshape(ValueId a, core::Shape to) {
    if (shape(a) == to) return a;
    return builder_.emit(Reshape{}, {a}, dtype(a), std::move(to), node_);
  }
  ValueId expand(ValueId a, core::Shape to) {
    if (shape(a) == to) return a;
    return builder_.emit(Expand{}, {a}, dtype(a), std::move(to), node_);
  }
  /// Σ over all axes but the first.
  ValueId sum_rows(ValueId a) {
    Reduce sum;
    for (std::size_t i = 1; i < shape(a).size(); ++i) sum.axes.push_back(static_cast<std::int64_t>(i));
    return builder_.emit(std::move(sum), {a}, dtype(a), {shape(a)[0]}, node_);
  }
  ValueId scalar(ValueId like, double number) { return builder_.add_scalar(dtype(like), number); }

 private:
  // By value: emitting a step moves the values.
  [[nodiscard]] core::Shape shape(ValueId id) const { return builder_.value(id).shape; }
  [[nodiscard]] core::DType dtype(ValueId id) const { return builder_.value(id).dtype; }

  Builder& builder_;
  std::string node_;
};

/// Of a batch norm with constant inputs: scale = s / √(variance + ε), shift = bias − mean · scale.
[[nodiscard]] Affine of_batch_norm(Rewriter& rewriter, const Step& norm);

}  // namespace rdquant::program
