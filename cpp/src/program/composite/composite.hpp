#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "rdquant/core/tensor.hpp"
#include "rdquant/graph/graph.hpp"

/// Operators that stand for several of ONNX's: those on levels (the form QOperator), and those that ONNX Runtime's
/// optimizer writes in their place (domain com.microsoft). Each is lowered as what it means, so that both ways to say it
/// are fused alike.
namespace rdquant::program {

using Attributes = std::map<std::string, graph::Attribute>;
using Strings = std::vector<std::string>;

/// One node on its way to those that it stands for, which are lowered as they are added.
class Composite {
 public:
  /// What the nodes are lowered by, and what is known of the values that are there: in lower.cpp.
  struct Surroundings {
    std::function<void(const graph::Node&)> lower;
    std::function<const core::Shape&(const std::string&)> shape;
  };

  Composite(const graph::Node& node, const Surroundings& surroundings);

  [[nodiscard]] const graph::Node& node() const noexcept { return node_; }
  [[nodiscard]] std::size_t inputs() const noexcept { return node_.inputs.size(); }
  /// Its name; "" where it is left out.
  [[nodiscard]] std::string input(std::size_t i) const {
    return i < node_.inputs.size() ? node_.inputs[i] : std::string();
  }
  [[nodiscard]] bool has(std::size_t i) const { return !input(i).empty(); }
  [[nodiscard]] std::string output(std::size_t i = 0) const {
    return i < node_.outputs.size() ? node_.outputs[i] : std::string();
  }
  [[nodiscard]] bool wants(std::size_t i) const { return !output(i).empty(); }
  [[nodiscard]] const Attributes& attributes() const noexcept { return node_.attributes; }
  template <typename T>
  [[nodiscard]] T attribute(const std::string& name, T otherwise) const {
    const auto found = node_.attributes.find(name);
    const T* value = found == node_.attributes.end() ? nullptr : std::get_if<T>(&found->second);
    return value != nullptr ? *value : otherwise;
  }
  [[nodiscard]] std::int64_t integer(const std::string& name, std::int64_t otherwise = 0) const {
    return attribute(name, otherwise);
  }
  [[nodiscard]] float real(const std::string& name, float otherwise) const {
    return attribute(name, otherwise);
  }
  /// Of a value that is there. @throws InvalidArgument  it is not
  [[nodiscard]] const core::Shape& shape(const std::string& value) const {
    return surroundings_.shape(value);
  }

  /// A node of the standard domain; gives the name of its output, a new one unless `output` says it.
  std::string add(std::string op, Strings inputs, Attributes attributes = {}, std::string output = "");
  /// The same with several outputs; new names stand for those that are "".
  Strings add_all(std::string op, Strings inputs, Attributes attributes, Strings outputs);
  std::string integers(std::vector<std::int64_t> values);
  /// 0 … count − 1.
  std::string counted(std::int64_t count);
  /// In the element type of `like`.
  std::string number(float value, const std::string& like);
  std::string reshaped(const std::string& x, std::vector<std::int64_t> shape, std::string output = "");
  /// Parts of these sizes along `axis`.
  Strings parts(const std::string& x, std::int64_t axis, const std::vector<std::int64_t>& sizes);
  /// `a`, or `b`, or their sum where both are there.
  std::string sum(const std::string& a, const std::string& b);

  /// @throws Unsupported  says that `what` is not supported
  [[noreturn]] void refuse(const std::string& what) const;
  /// @throws InvalidArgument  unless `condition`
  void check(bool condition, const std::string& what) const;

 private:
  std::string fresh();

  const graph::Node& node_;
  const Surroundings& surroundings_;
  std::string prefix_;
  std::size_t count_ = 0;
};

using CompositeRule = void (*)(Composite&);
struct CompositeKind {
  CompositeRule rule;
  std::size_t most_outputs = 1;
};
using CompositeKinds = std::map<std::string_view, CompositeKind>;

// One function per family adds its rules, under names as `operators` gives them: "com.microsoft.Gelu".
void add_level_composites(CompositeKinds& kinds);
void add_fused_composites(CompositeKinds& kinds);
void add_norm_composites(CompositeKinds& kinds);
void add_attention_composites(CompositeKinds& kinds);

/// All of them.
[[nodiscard]] const CompositeKinds& composites();
/// nullptr for a node that is none. @throws InvalidArgument  it has more outputs than its kind, or not the first
[[nodiscard]] const CompositeKind* composite_of(const graph::Node& node);
/// Lowers `node`, of that kind. @throws Unsupported  what its rule does not take. InvalidArgument: what does not fit
void lower_composite(const CompositeKind& kind, const graph::Node& node,
                     const Composite::Surroundings& surroundings);

}  // namespace rdquant::program
