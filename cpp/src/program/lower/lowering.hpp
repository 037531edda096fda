#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "program/lower/builder.hpp"

namespace rdquant::program {

/// One node of the graph on its way to steps: what rules read, and where they put what they make.
class Lowering {
 public:
  Lowering(Builder& builder, std::unordered_map<std::string, ValueId>& names, const graph::Node& node,
           int opset)
      : builder_(builder), names_(names), node_(node), opset_(opset), label_(node.name) {
    if (label_.empty() && !node.outputs.empty()) label_ = node.outputs.front();
  }

  [[nodiscard]] int opset() const noexcept { return opset_; }
  [[nodiscard]] const graph::Node& node() const noexcept { return node_; }
  [[nodiscard]] Builder& builder() noexcept { return builder_; }

  // Inputs.
  [[nodiscard]] std::size_t inputs() const noexcept { return node_.inputs.size(); }
  [[nodiscard]] bool has_input(std::size_t i) const {
    return i < node_.inputs.size() && !node_.inputs[i].empty();
  }
  /// Input `i`, or kNone where it is left out.
  [[nodiscard]] ValueId optional_input(std::size_t i);
  /// @throws InvalidArgument  it is left out
  [[nodiscard]] ValueId input(std::size_t i);
  [[nodiscard]] const core::Shape& shape(ValueId id) const { return builder_.value(id).shape; }
  [[nodiscard]] core::DType dtype(ValueId id) const { return builder_.value(id).dtype; }
  [[nodiscard]] std::int64_t rank(ValueId id) const { return static_cast<std::int64_t>(shape(id).size()); }
  /// What kernels rely on, whichever rule emits them. @throws InvalidArgument
  void check_operands(const Operation& operation, std::span<const ValueId> inputs,
                      const core::Shape& output) const;
  /// @throws InvalidArgument  those of the values that are there differ in element type
  void check_same_type(std::span<const ValueId> values) const;
  /// Values of an input that must be known before any data are. @throws Unsupported  it is computed from data
  [[nodiscard]] std::vector<std::int64_t> integers_of(std::size_t i);
  [[nodiscard]] std::vector<double> numbers_of(std::size_t i);

  // Attributes.
  [[nodiscard]] bool has(const std::string& name) const { return node_.attributes.contains(name); }
  [[nodiscard]] std::int64_t integer(const std::string& name, std::int64_t otherwise) const;
  [[nodiscard]] float real(const std::string& name, float otherwise) const;
  [[nodiscard]] std::string text(const std::string& name, std::string otherwise) const;
  [[nodiscard]] std::vector<std::int64_t> integers(const std::string& name,
                                                   std::vector<std::int64_t> otherwise = {}) const;
  [[nodiscard]] std::vector<float> reals(const std::string& name) const;
  [[nodiscard]] std::vector<std::string> texts(const std::string& name) const;
  /// An attribute, or from opset `since` on the input `i` of the same meaning; nullopt where left out.
  [[nodiscard]] std::optional<std::vector<std::int64_t>> integers(const std::string& name, int since,
                                                                  std::size_t i);
  /// 0 ≤ axis < rank from one that may count from the end. @throws InvalidArgument
  [[nodiscard]] std::int64_t axis(std::int64_t axis, std::int64_t rank) const;
  /// The same for several, sorted, each once.
  [[nodiscard]] std::vector<std::int64_t> axes(std::vector<std::int64_t> axes, std::int64_t rank) const;

  // Steps and outputs.
  /// @throws InvalidArgument  the inputs do not fit the operation
  ValueId emit(Operation operation, std::vector<ValueId> inputs, core::DType dtype, core::Shape shape) {
    check_operands(operation, inputs, shape);
    return builder_.emit(std::move(operation), std::move(inputs), dtype, std::move(shape), label_);
  }
  /// A step whose output is like value `like`.
  ValueId emit_like(Operation operation, std::vector<ValueId> inputs, ValueId like) {
    return emit(std::move(operation), std::move(inputs), dtype(like), shape(like));
  }
  [[nodiscard]] bool wants(std::size_t output) const {
    return output < node_.outputs.size() && !node_.outputs[output].empty();
  }
  /// Names value `id` as output `i` of the node.
  void give(std::size_t i, ValueId id);
  /// Several outputs of one step, in the node's order; those that the graph does not want are left out.
  void give_all(Operation operation, std::vector<ValueId> inputs, std::vector<Builder::Output> outputs);
  [[nodiscard]] const std::string& label() const noexcept { return label_; }
  /// A constant, converted to element type `to`.
  [[nodiscard]] ValueId constant(core::Tensor data, core::DType to);
  /// `x` under another shape of as many elements.
  ValueId reshape(ValueId x, core::Shape to);

  [[noreturn]] void unsupported(const std::string& what) const;
  [[noreturn]] void invalid(const std::string& what) const;
  void check(bool condition, const std::string& what) const {
    if (!condition) invalid(what);
  }

 private:
  template <typename T>
  [[nodiscard]] const T* attribute(const std::string& name) const;

  Builder& builder_;
  std::unordered_map<std::string, ValueId>& names_;
  const graph::Node& node_;
  int opset_;
  std::string label_;
};

/// An axis as an index.
[[nodiscard]] inline std::size_t at(std::int64_t axis) { return static_cast<std::size_t>(axis); }

using Rule = void (*)(Lowering&);
using Rules = std::map<std::string_view, Rule>;

// One function per family of operators adds its rules.
void add_activation_rules(Rules& rules);
void add_arithmetic_rules(Rules& rules);
void add_convolution_rules(Rules& rules);
void add_einsum_rules(Rules& rules);
void add_index_rules(Rules& rules);
void add_int8_rules(Rules& rules);
void add_normalization_rules(Rules& rules);
void add_pool_rules(Rules& rules);
void add_product_rules(Rules& rules);
void add_quantization_rules(Rules& rules);
void add_recurrence_rules(Rules& rules);
void add_reduction_rules(Rules& rules);
void add_resize_rules(Rules& rules);
void add_sample_rules(Rules& rules);
void add_shape_rules(Rules& rules);
void add_signal_rules(Rules& rules);
void add_source_rules(Rules& rules);

/// Whether a value of one shape can be read under another by NumPy's broadcasting.
[[nodiscard]] bool broadcasts_to(const core::Shape& from, const core::Shape& to);
/// NumPy's broadcasting. @throws InvalidArgument  shapes that do not fit
[[nodiscard]] core::Shape broadcast(const core::Shape& a, const core::Shape& b);
/// What `function` makes of two values that broadcast, in the element type of `a`; a comparison of them, boolean.
[[nodiscard]] ValueId combined(Lowering& node, BinaryFunction function, ValueId a, ValueId b);
[[nodiscard]] ValueId compared(Lowering& node, BinaryFunction function, ValueId a, ValueId b);

/// ONNX's numbers of element types. @throws Unsupported
[[nodiscard]] core::DType dtype_of_onnx(std::int64_t number);

/// Fills a window from auto_pad, pads, strides and dilations over the sizes of the image.
[[nodiscard]] Window window_of(const Lowering& node, const core::Shape& image,
                               const std::vector<std::int64_t>& kernel);
/// Places to which a window can move along spatial axis `i` of the padded image; negative where it does not fit.
[[nodiscard]] std::int64_t room_of(const core::Shape& image, const Window& window, std::size_t i);
/// @throws InvalidArgument  the window does not fit that axis
void refuse_window(const Lowering& node, const core::Shape& image, const Window& window, std::size_t i);
/// Sizes of the image after a window.
[[nodiscard]] core::Shape output_sizes(const Lowering& node, const core::Shape& image, const Window& window);

/// The convolution of `x` with `w` that a node's attributes describe, without bias, and its output's shape.
/// @throws InvalidArgument  shapes and attributes that do not fit
[[nodiscard]] std::pair<Convolution, core::Shape> convolution_of(Lowering& node, ValueId x, ValueId w);

/// The operands of NumPy's matmul with vectors as matrices, the shape of their product, and that shape
/// without the axes that vectors do not have.
struct Matrices {
  ValueId a, b;
  core::Shape out, squeezed;
};
/// @throws InvalidArgument  shapes that do not fit
[[nodiscard]] Matrices matrices_of(Lowering& node, ValueId a, ValueId b);

}  // namespace rdquant::program
