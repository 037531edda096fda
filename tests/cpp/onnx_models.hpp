#pragma once

#include <concepts>
#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "protobuf.hpp"

/// Small ONNX models, written field by field.
namespace onnx_models {

using protobuf::Bytes;
using protobuf::Field;
using protobuf::message;
using protobuf::number;
using protobuf::text;

inline constexpr std::int64_t kFloat = 1, kUint8 = 2, kInt8 = 3, kInt32 = 6, kInt64 = 7;

template <typename T>
Bytes raw(const std::vector<T>& values) {
  Bytes out(values.size() * sizeof(T));
  if (!out.empty()) std::memcpy(out.data(), values.data(), out.size());
  return out;
}

inline std::int64_t product(const std::vector<std::int64_t>& shape) {
  std::int64_t size = 1;
  for (const std::int64_t d : shape) size *= d;
  return size;
}

/// A TensorProto's fields; `payload` holds the values.
inline std::vector<Field> tensor(const std::string& name, std::int64_t type,
                                 const std::vector<std::int64_t>& dims, std::vector<Field> payload) {
  std::vector<Field> out;
  for (const std::int64_t d : dims) out.push_back(number(1, d));
  out.push_back(number(2, type));
  if (!name.empty()) out.push_back(text(8, name));
  for (Field& field : payload) out.push_back(std::move(field));
  return out;
}

/// Values 0.01, 0.02, …
inline std::vector<Field> floats(const std::string& name, const std::vector<std::int64_t>& dims) {
  std::vector<float> values(static_cast<std::size_t>(product(dims)));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = 0.01F * static_cast<float>(i % 50 + 1);
  return tensor(name, kFloat, dims, {protobuf::blob(9, raw(values))});
}

inline std::vector<Field> integers(const std::string& name, const std::vector<std::int64_t>& values) {
  return tensor(name, kInt64, {std::ssize(values)}, {protobuf::blob(9, raw(values))});
}

template <typename T>
std::vector<Field> scalar(const std::string& name, std::int64_t type, T value) {
  return tensor(name, type, {}, {protobuf::blob(9, raw(std::vector<T>{value}))});
}

template <std::integral T>
Field attribute(const std::string& name, T value) {
  return message(5, {text(1, name), number(3, value), number(20, 2)});
}
inline Field attribute(const std::string& name, float value) {
  return message(5, {text(1, name), protobuf::real(2, value), number(20, 1)});
}
inline Field attribute(const std::string& name, const char* value) {
  return message(5, {text(1, name), text(4, value), number(20, 3)});
}
inline Field attribute(const std::string& name, const std::vector<std::int64_t>& values) {
  std::vector<Field> out = {text(1, name), number(20, 7)};
  for (const std::int64_t v : values) out.push_back(number(8, v));
  return message(5, std::move(out));
}
inline Field tensor_attribute(const std::string& name, std::vector<Field> value) {
  return message(5, {text(1, name), message(5, std::move(value)), number(20, 4)});
}

inline Field node(const std::string& op, const std::vector<std::string>& inputs,
                  const std::vector<std::string>& outputs, std::vector<Field> attributes = {},
                  const std::string& domain = "", std::uint32_t field = 1) {
  std::vector<Field> out;
  for (const std::string& input : inputs) out.push_back(text(1, input));
  for (const std::string& output : outputs) out.push_back(text(2, output));
  out.push_back(text(3, op + "_" + (outputs.empty() ? "" : outputs.front())));
  out.push_back(text(4, op));
  if (!domain.empty()) out.push_back(text(7, domain));
  for (Field& a : attributes) out.push_back(std::move(a));
  return message(field, std::move(out));
}

/// A ValueInfoProto; sizes below 0 are the symbol N.
inline Field port(std::uint32_t field, const std::string& name, const std::vector<std::int64_t>& shape,
                  std::int64_t type = kFloat) {
  std::vector<Field> dims;
  for (const std::int64_t d : shape) dims.push_back(message(1, {d < 0 ? text(2, "N") : number(1, d)}));
  return message(field,
                 {text(1, name), message(2, {message(1, {number(1, type), message(2, std::move(dims))})})});
}

struct Model {
  std::vector<Field> nodes, initializers, inputs, outputs, functions;
  std::int64_t opset = 17;
  std::vector<std::string> domains = {};

  [[nodiscard]] Bytes bytes() const {
    std::vector<Field> graph = nodes;
    graph.push_back(text(2, "g"));
    for (const Field& f : initializers) graph.push_back(f);
    for (const Field& f : inputs) graph.push_back(f);
    for (const Field& f : outputs) graph.push_back(f);
    std::vector<Field> model = {number(1, 8), message(7, std::move(graph)),
                                message(8, {text(1, ""), number(2, opset)})};
    for (const std::string& domain : domains) model.push_back(message(8, {text(1, domain), number(2, 1)}));
    for (const Field& f : functions) model.push_back(f);
    return protobuf::written(model);
  }
  void add(std::vector<Field> tensor) { initializers.push_back(message(5, std::move(tensor))); }
};

/// Convolution, normalization, pooling, a constant shape, a fully connected layer.
inline Model network() {
  Model m;
  m.inputs = {port(11, "x", {-1, 2, 8, 8})};
  m.outputs = {port(12, "y", {-1, 5})};
  m.add(floats("w", {16, 2, 3, 3}));
  for (const char* name : {"scale", "shift", "mean", "var"}) m.add(floats(name, {16}));
  m.add(floats("fc", {5, 256}));
  m.add(tensor("fb", kFloat, {5},
               {protobuf::real(4, 1), protobuf::real(4, 2), protobuf::real(4, 3), protobuf::real(4, 4),
                protobuf::real(4, 5)}));
  m.nodes = {
      node("Conv", {"x", "w"}, {"c"}, {attribute("pads", {1, 1, 1, 1}), attribute("kernel_shape", {3, 3})}),
      node("BatchNormalization", {"c", "scale", "shift", "mean", "var"}, {"b"},
           {attribute("epsilon", 1e-4F)}),
      node("Relu", {"b"}, {"r"}),
      node("MaxPool", {"r"}, {"p"}, {attribute("kernel_shape", {2, 2}), attribute("strides", {2, 2})}),
      node("Constant", {}, {"to"}, {tensor_attribute("value", integers("", {0, -1}))}),
      node("Reshape", {"p", "to"}, {"f"}),
      node("Gemm", {"f", "fc", "fb"}, {"g"}, {attribute("transB", 1)}),
      node("Softmax", {"g"}, {"y"}, {attribute("axis", 1)})};
  return m;
}

/// Two calls of a function with an attribute of its own, one within another.
inline Model calls() {
  Model m;
  m.inputs = {port(11, "x", {2, 3})};
  m.outputs = {port(12, "y", {2, 3})};
  m.domains = {"own"};
  const auto opsets = [] { return message(9, {text(1, ""), number(2, 17)}); };
  const Field slope = message(5, {text(1, "alpha"), number(20, 1), text(21, "slope")});
  m.functions = {
      message(25, {text(1, "Leak"), text(10, "own"), text(4, "a"), text(5, "b"), text(6, "slope"), opsets(),
                   node("Neg", {"a"}, {"n"}, {}, "", 7), node("LeakyRelu", {"n"}, {"b"}, {slope}, "", 7)}),
      message(25, {text(1, "Twice"), text(10, "own"), text(4, "a"), text(5, "b"), text(5, "same"), opsets(),
                   node("Leak", {"a"}, {"m"}, {attribute("slope", 0.5F)}, "own", 7),
                   node("Leak", {"m"}, {"b"}, {attribute("slope", 0.25F)}, "own", 7),
                   node("Identity", {"a"}, {"same"}, {}, "", 7)})};
  m.nodes = {node("Twice", {"x"}, {"t", "s"}, {}, "own"), node("Add", {"t", "s"}, {"y"})};
  return m;
}

/// Nodes out of order, two that are the same, values in every typed field.
inline Model assorted() {
  Model m;
  m.inputs = {port(11, "x", {-1, 4}), port(11, "k", {4})};
  m.outputs = {port(12, "y", {-1, 4})};
  Field packed = protobuf::blob(4, raw(std::vector<float>{1, 2, 3, 4}));
  m.add(tensor("k", kFloat, {4}, {packed}));
  m.add(tensor("starts", kInt64, {1}, {number(7, 0)}));
  m.add(tensor("ends", kInt32, {1}, {number(5, 2)}));
  m.add(tensor("doubled", 11, {2}, {protobuf::blob(10, raw(std::vector<double>{1, 2}))}));
  m.add(tensor("wide", 13, {1}, {number(11, 7)}));
  m.add(tensor("half", 10, {1}, {number(5, 0x3C00)}));
  m.nodes = {node("Add", {"l", "r"}, {"s"}),
             node("Exp", {"q"}, {"l"}),
             node("Exp", {"q"}, {"r"}),
             node("Mul", {"x", "k"}, {"q"}),
             node("Concat", {"c", "d"}, {"y"}, {attribute("axis", 1)}),
             node("Slice", {"s", "starts", "ends", "axes"}, {"c"}),
             node("Slice", {"s", "ends", "four", "axes"}, {"d"})};
  m.add(tensor("axes", kInt32, {1}, {number(5, 1)}));
  m.add(tensor("four", kInt32, {1}, {protobuf::blob(5, {4})}));
  return m;
}

/// Levels of 8 bits: QDQ, and integer operators.
inline Model levels() {
  Model m;
  m.inputs = {port(11, "x", {1, 2, 6, 6})};
  m.outputs = {port(12, "y", {1, 4, 4, 4}), port(12, "z", {1, 4, 4, 4}, kInt32)};
  m.add(scalar("s", kFloat, 0.05F));
  m.add(scalar<std::uint8_t>("zero", kUint8, 128));
  m.add(tensor("w", kInt8, {4, 2, 3, 3}, {protobuf::blob(9, Bytes(72, 3))}));
  m.add(floats("ws", {4}));
  m.add(tensor("wz", kInt8, {4}, {protobuf::blob(9, Bytes(4, 0))}));
  m.nodes = {node("QuantizeLinear", {"x", "s", "zero"}, {"q"}),
             node("DequantizeLinear", {"q", "s", "zero"}, {"d"}),
             node("DequantizeLinear", {"w", "ws", "wz"}, {"dw"}, {attribute("axis", 0)}),
             node("Conv", {"d", "dw"}, {"c"}),
             node("QuantizeLinear", {"c", "s", "zero"}, {"qc"}),
             node("DequantizeLinear", {"qc", "s", "zero"}, {"y"}),
             node("ConvInteger", {"q", "w", "zero"}, {"z"})};
  return m;
}

/// An operator, its inputs' shapes, then vectors of integers.
struct OperatorCase {
  const char* op;
  std::vector<std::vector<std::int64_t>> shapes;
  std::vector<std::vector<std::int64_t>> vectors;
  std::vector<Field> attributes;
};

inline std::vector<OperatorCase> operator_cases() {
  const auto a = [](const char* name, const auto& value) { return attribute(name, value); };
  const auto list = [](const char* name, std::vector<std::int64_t> values) {
    return attribute(name, values);
  };
  const std::int64_t one = 1;
  return {
      {"AveragePool",
       {{1, 2, 6, 6}},
       {},
       {list("kernel_shape", {3, 3}), list("pads", {1, 1, 1, 1}), a("ceil_mode", one)}},
      {"Clip", {{2, 3}}, {}, {}},
      {"Col2Im", {{1, 8, 9}}, {{4, 4}, {2, 2}}, {}},
      {"Col2Im", {{1, 8, 4}}, {{4, 4}, {2, 2}}, {list("strides", {2, 2})}},
      {"ConvTranspose",
       {{1, 2, 4, 4}, {2, 3, 3, 3}},
       {},
       {list("strides", {2, 2}), list("output_padding", {1, 1})}},
      {"Conv", {{1, 4, 6, 6}, {4, 1, 3, 3}}, {}, {a("group", std::int64_t{4}), list("dilations", {2, 2})}},
      {"Conv", {{1, 1, 12}, {2, 1, 5}}, {}, {list("strides", {3}), list("pads", {1, 2})}},
      {"ConvTranspose", {{1, 2, 4}, {2, 1, 5}}, {}, {list("strides", {3}), list("pads", {1, 0})}},
      {"DepthToSpace", {{1, 8, 2, 2}}, {}, {a("blocksize", std::int64_t{2}), a("mode", "CRD")}},
      {"Einsum", {{2, 3}, {3, 4}}, {}, {a("equation", "ij,jk->ik")}},
      {"Einsum", {{2, 3, 3}, {3, 4}}, {}, {a("equation", "...ii,ik->k...")}},
      {"Expand", {{1, 3}}, {{2, 3}}, {}},
      {"Flatten", {{2, 3, 4}}, {}, {a("axis", one)}},
      {"Gather", {{4, 3}}, {{2, 0}}, {a("axis", std::int64_t{0})}},
      {"GatherElements", {{1, 2}}, {}, {}},
      {"GRU", {{3, 2, 4}, {1, 6, 4}, {1, 6, 2}}, {}, {a("hidden_size", std::int64_t{2}), a("clip", 1.0F)}},
      {"GridSample", {{1, 2, 4, 3}, {1, 2, 5, 2}}, {}, {a("padding_mode", "reflection")}},
      {"GridSample", {{1, 2, 4, 3}, {1, 2, 5, 2}}, {}, {a("mode", "cubic"), a("align_corners", one)}},
      {"LRN", {{1, 4, 3, 3}}, {}, {a("size", std::int64_t{3})}},
      {"LSTM",
       {{3, 2, 4}, {2, 8, 4}, {2, 8, 2}, {2, 16}},
       {},
       {a("direction", "bidirectional"), a("hidden_size", std::int64_t{2})}},
      {"LayerNormalization", {{2, 6}, {6}, {6}}, {}, {a("axis", std::int64_t{-1})}},
      {"MatMul", {{2, 3, 4}, {4, 5}}, {}, {}},
      {"Pad", {{2, 3}}, {{0, 1, 2, 0}}, {a("mode", "reflect")}},
      {"ReduceMean", {{2, 3, 4}}, {}, {list("axes", {1, 2}), a("keepdims", std::int64_t{0})}},
      {"ReduceSum", {{2, 3, 4}}, {{1}}, {}},
      {"Reshape", {{2, 6}}, {{3, -1}}, {}},
      {"Shape", {{2, 6}}, {}, {a("start", one)}},
      {"Slice", {{4, 6}}, {{1, 0}, {3, 6}, {0, 1}, {1, 2}}, {}},
      {"Split", {{4, 6}}, {{2, 4}}, {a("axis", one)}},
      {"Squeeze", {{1, 6}}, {{0}}, {}},
      {"Tile", {{2, 3}}, {{2, 2}}, {}},
      {"TopK", {{2, 6}}, {{2}}, {a("largest", one)}},
      {"Transpose", {{2, 3, 4}}, {}, {list("perm", {2, 0, 1})}},
      {"Unsqueeze", {{2, 3}}, {{0, 3}}, {}},
  };
}

/// One operator each.
inline std::vector<Model> operators() {
  std::vector<Model> out;
  for (const OperatorCase& c : operator_cases()) {
    Model m;
    std::vector<std::string> inputs;
    for (std::size_t i = 0; i < c.shapes.size(); ++i) {
      inputs.push_back(std::string("x").append(std::to_string(i)));
      m.inputs.push_back(port(11, inputs.back(), c.shapes[i]));
    }
    for (std::size_t i = 0; i < c.vectors.size(); ++i) {
      inputs.push_back(std::string("v").append(std::to_string(i)));
      m.add(integers(inputs.back(), c.vectors[i]));
    }
    const bool two = std::string(c.op) == "Split" || std::string(c.op) == "TopK";
    m.nodes = {node(c.op, inputs, two ? std::vector<std::string>{"y", "i"} : std::vector<std::string>{"y"},
                    c.attributes)};
    m.outputs = {port(12, "y", {-1})};
    out.push_back(std::move(m));
  }
  return out;
}

}  // namespace onnx_models
