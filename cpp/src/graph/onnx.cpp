#include "rdquant/graph/onnx.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "graph/proto.hpp"
#include "rdquant/core/error.hpp"
#include "rdquant/core/text.hpp"

namespace rdquant::graph {
namespace {

struct Beginning {
  std::string_view bytes, kind;
};

constexpr auto kOtherFiles = std::to_array<Beginning>({
    {"\xff\xd8\xff", "a JPEG image"},
    {"\x89PNG", "a PNG image"},
    {"PK\x03\x04", "a zip archive (PyTorch's .pt files are)"},
    {"\x1f\x8b", "a gzip file"},
    {"%PDF", "a PDF"},
    {"version https://git-lfs", "a Git LFS pointer; fetch the file itself with 'git lfs pull'"},
    {"<!DOCTYPE", "a web page"},
    {"<html", "a web page"},
});

void check_kind(const Source& source) {
  const Bytes bytes = source.bytes();
  if (bytes.empty()) throw core::CorruptFile(source.name() + ": it is empty (0 bytes)");
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  for (const Beginning& other : kOtherFiles) {
    if (!text.starts_with(other.bytes)) continue;
    throw core::CorruptFile(source.name() + ": not an ONNX file but " + std::string(other.kind));
  }
}

ValueInfo info_of(const PortProto& port, const std::string& name) {
  const bool has_type = port.type.has_value();
  return {port.name, has_type ? element_type(*port.type, name) : core::DType::f32, port.shape, has_type,
          port.has_shape};
}

/// A Constant node's tensor; nullptr for numbers given bare.
const core::Tensor* constant(const NodeProto& proto) {
  if (proto.node.op != "Constant" || !proto.node.domain.empty() || proto.attributes.size() != 1)
    return nullptr;
  return std::get_if<core::Tensor>(&proto.attributes.front().value);
}

void fill_nodes(ModelProto& model, Graph& graph) {
  graph.nodes.reserve(model.nodes.size());
  for (NodeProto& proto : model.nodes) {
    if (const core::Tensor* const tensor = constant(proto)) {
      graph.initializers.emplace(proto.node.outputs.front(), *tensor);
      continue;
    }
    for (AttributeProto& attribute : proto.attributes) {
      proto.node.attributes.insert_or_assign(std::move(attribute.name), std::move(attribute.value));
    }
    if (is_simplified_norm(proto.node)) proto.node.domain = "com.microsoft";
    graph.nodes.push_back(std::move(proto.node));
  }
}

}  // namespace

std::string described(const Node& node) {
  std::string what = node.domain.empty() ? node.op : node.domain + ":" + node.op;
  if (what.size() > 100) what.resize(100);
  what = core::as_utf8(std::move(what));
  if (!node.name.empty()) return what + " node " + core::in_quotes(node.name);
  return what + " node giving " + core::in_quotes(node.outputs.empty() ? "" : node.outputs.front());
}

OnnxModel read_onnx(const Source& source, const std::string& name, const OnnxOptions& options) {
  check_kind(source);
  TensorReader tensors(source, options);
  ModelProto model = parse_model(source, tensors);
  check_header(model, source.name());
  inline_functions(model, source.name());
  check_nodes(model, options, source.name());
  sort_nodes(model.nodes, source.name());
  OnnxModel out;
  out.graph.name = name.empty() ? model.name : name;
  const auto opset = model.opsets.find("");
  out.graph.opset = opset == model.opsets.end() ? kNewestOpset : static_cast<int>(opset->second);
  for (TensorReader::Named& t : model.initializers) {
    out.graph.initializers.emplace(std::move(t.name), std::move(t.tensor));
  }
  for (const PortProto& port : model.inputs) {
    if (out.graph.initializers.contains(port.name) || options.stored.contains(port.name)) continue;
    out.inputs.push_back(info_of(port, source.name()));
    Port input = {port.name, out.inputs.back().dtype, {}};
    for (const Dimension& dimension : port.shape) input.shape.push_back(dimension.size);
    out.graph.inputs.push_back(std::move(input));
  }
  for (const PortProto& port : model.outputs) {
    out.outputs.push_back(info_of(port, source.name()));
    out.graph.outputs.push_back({port.name, {}, {}});
  }
  fill_nodes(model, out.graph);
  drop_repeats(out.graph.nodes, out.outputs);
  out.payloads = std::move(tensors.payloads());
  return out;
}

}  // namespace rdquant::graph
