// From the bytes of a ModelProto to what it holds.
#include <algorithm>
#include <array>
#include <utility>

#include "graph/proto.hpp"
#include "rdquant/core/error.hpp"
#include "rdquant/core/text.hpp"

namespace rdquant::graph {
namespace {

enum class Type : std::int64_t {
  real = 1,
  integer,
  text,
  tensor,
  graph,
  reals,
  integers,
  texts,
  tensors,
  graphs
};

// By AttributeProto.AttributeType.
constexpr auto kAttributeTypes = std::to_array<const char*>(
    {"UNDEFINED", "FLOAT", "INT", "STRING", "TENSOR", "GRAPH", "FLOATS", "INTS", "STRINGS", "TENSORS",
     "GRAPHS", "SPARSE_TENSOR", "SPARSE_TENSORS", "TYPE_PROTO", "TYPE_PROTOS"});
// Field of AttributeProto that holds the value of each type.
constexpr auto kValueFields =
    std::to_array<std::uint32_t>({0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 22, 23, 14, 15});

class Parser {
 public:
  Parser(const Source& source, TensorReader& tensors) : source_(source), tensors_(tensors) {}

  ModelProto model() {
    ModelProto out;
    Message fields(source_, source_.bytes(), "model");
    Bytes graph;
    for (Field field; fields.next(field);) {
      switch (field.number) {
        case 1:
          fields.once(field, "ir_version");
          out.ir_version = fields.integer(field, "ir_version");
          break;
        case 7:
          fields.once(field, "graph");
          graph = fields.message(field, "graph");
          out.has_graph = true;
          break;
        case 8:
          opset(fields.message(field, "opset_import"), out.opsets, true);
          break;
        case 25:
          out.functions.push_back(function(fields.message(field, "functions")));
          break;
        default:
          text_of_header(fields, field);
      }
    }
    if (out.has_graph) read_graph(graph, out);
    return out;
  }

 private:
  /// What nobody reads, but must be text.
  static void text_of_header(Message& fields, const Field& field) {
    constexpr auto kNames =
        std::to_array<const char*>({"producer_name", "producer_version", "domain", "", "doc_string"});
    if (field.number < 2 || field.number > 6 || field.number == 5) return;
    static_cast<void>(fields.text(field, kNames[field.number - 2]));
  }

  void opset(Bytes bytes, std::map<std::string, std::int64_t>& opsets, bool of_model) {
    std::string domain;
    std::int64_t version = 0;
    Message fields(source_, bytes, "opset_import");
    for (Field field; fields.next(field);) {
      if (field.number == 1) domain = fields.text(field, "domain");
      if (field.number == 2) version = fields.integer(field, "version");
    }
    if (domain == "ai.onnx") domain.clear();
    const auto known = opsets.find(domain);
    if (known != opsets.end() && known->second != version && of_model) {  // some exporters say it twice
      throw core::CorruptFile(source_.name() + ": field 'opset_import' has domain " +
                              core::in_quotes(domain) + " with versions " + std::to_string(known->second) +
                              " and " + std::to_string(version));
    }
    opsets[domain] = version;
  }

  void read_graph(Bytes bytes, ModelProto& out) {
    Message fields(source_, bytes, "graph");
    for (Field field; fields.next(field);) {
      switch (field.number) {
        case 1:
          out.nodes.push_back(node(fields.message(field, "node")));
          break;
        case 2:
          fields.once(field, "name");
          out.name = fields.text(field, "name");
          break;
        case 5:
          out.initializers.push_back(tensors_.read(fields.message(field, "initializer")));
          break;
        case 10:
          static_cast<void>(fields.text(field, "doc_string"));
          break;
        case 11:
          out.inputs.push_back(port(fields.message(field, "input")));
          break;
        case 12:
          out.outputs.push_back(port(fields.message(field, "output")));
          break;
        case 13:
          static_cast<void>(port(fields.message(field, "value_info")));
          break;
        case 15:
          throw core::Unsupported(source_.name() +
                                  ": field sparse_initializer: sparse tensors are not supported");
        default:
          break;
      }
    }
  }

  NodeProto node(Bytes bytes) {
    NodeProto out;
    std::vector<Bytes> attributes;  // read last: their messages name the node
    Message fields(source_, bytes, "node");
    for (Field field; fields.next(field);) {
      switch (field.number) {
        case 1:
          out.node.inputs.push_back(fields.text(field, "input"));
          break;
        case 2:
          out.node.outputs.push_back(fields.text(field, "output"));
          break;
        case 3:
          fields.once(field, "name");
          out.node.name = fields.text(field, "name");
          break;
        case 4:
          fields.once(field, "op_type");
          out.node.op = fields.text(field, "op_type");
          break;
        case 5:
          attributes.push_back(fields.message(field, "attribute"));
          break;
        case 6:
          static_cast<void>(fields.text(field, "doc_string"));
          break;
        case 7:
          fields.once(field, "domain");
          out.node.domain = fields.text(field, "domain");
          break;
        case 8:
          out.overload = fields.text(field, "overload");
          break;
        default:
          break;
      }
    }
    if (out.node.domain == "ai.onnx") out.node.domain.clear();
    if (out.node.op.empty()) {
      throw core::CorruptFile(source_.name() + ": field op_type of the node at byte " +
                              std::to_string(fields.offset()) + " is empty");
    }
    for (const Bytes attribute : attributes) out.attributes.push_back(read_attribute(attribute, out.node));
    return out;
  }

  /// Fields of an AttributeProto.
  struct Parts {
    std::string name, reference, text;
    std::int64_t type = 0, integer = 0;
    float real = 0;
    std::vector<std::int64_t> integers;
    std::vector<float> reals;
    std::vector<std::string> texts;
    std::optional<Bytes> tensor;
    std::uint32_t value_fields = 0;  // those that were met, a bit each
  };

  Parts parts(Bytes bytes) {
    Parts out;
    Message fields(source_, bytes, "attribute");
    for (Field field; fields.next(field);) {
      if (std::ranges::find(kValueFields, field.number) != kValueFields.end()) {
        out.value_fields |= 1U << field.number;
      }
      switch (field.number) {
        case 1:
          fields.once(field, "name");
          out.name = fields.text(field, "name");
          break;
        case 2:
          fields.once(field, "f");
          out.real = fields.real(field, "f");
          break;
        case 3:
          fields.once(field, "i");
          out.integer = fields.integer(field, "i");
          break;
        case 4:
          fields.once(field, "s");
          out.text = core::as_utf8(fields.binary(field, "s"));
          break;
        case 5:
          fields.once(field, "t");
          out.tensor = fields.message(field, "t");
          break;
        case 7:
          fields.reals(field, "floats", out.reals);
          break;
        case 8:
          fields.integers(field, "ints", out.integers);
          break;
        case 9:
          out.texts.push_back(core::as_utf8(fields.binary(field, "strings")));
          break;
        case 13:
          static_cast<void>(fields.text(field, "doc_string"));
          break;
        case 20:
          fields.once(field, "type");
          out.type = fields.integer(field, "type");
          break;
        case 21:
          fields.once(field, "ref_attr_name");
          out.reference = fields.text(field, "ref_attr_name");
          break;
        default:
          break;
      }
    }
    return out;
  }

  AttributeProto read_attribute(Bytes bytes, const Node& node) {
    Parts found = parts(bytes);
    const std::string where =
        source_.name() + ": " + described(node) + ": attribute " + core::in_quotes(found.name);
    if (found.name.empty())
      throw core::CorruptFile(source_.name() + ": " + described(node) + ": an attribute has no name");
    if (found.type <= 0 || found.type >= std::ssize(kAttributeTypes)) {
      throw core::CorruptFile(where + " is of type " + std::to_string(found.type) +
                              ", which ONNX does not define");
    }
    const std::uint32_t field = kValueFields[static_cast<std::size_t>(found.type)];
    const char* const kind = kAttributeTypes[static_cast<std::size_t>(found.type)];
    if ((found.value_fields & ~(1U << field)) != 0 || (!found.reference.empty() && found.value_fields != 0)) {
      throw core::CorruptFile(where + " is of type " + kind + ", but holds a value of another kind");
    }
    if (!found.reference.empty()) return {std::move(found.name), std::move(found.reference), {}};
    switch (static_cast<Type>(found.type)) {
      case Type::real:
        return {std::move(found.name), {}, found.real};
      case Type::integer:
        return {std::move(found.name), {}, found.integer};
      case Type::text:
        return {std::move(found.name), {}, std::move(found.text)};
      case Type::reals:
        return {std::move(found.name), {}, std::move(found.reals)};
      case Type::integers:
        return {std::move(found.name), {}, std::move(found.integers)};
      case Type::texts:
        return {std::move(found.name), {}, std::move(found.texts)};
      case Type::tensor:
        if (!found.tensor) throw core::CorruptFile(where + " holds no tensor");
        return {std::move(found.name),
                {},
                tensors_.read(*found.tensor, described(node) + ": attribute " + core::in_quotes(found.name))
                    .tensor};
      case Type::graph:
      case Type::graphs:
        throw core::Unsupported(source_.name() + ": " + described(node) +
                                ": the operator is not supported: " + core::in_quotes(found.name) +
                                " is a graph within");
      default:
        throw core::Unsupported(where + " of kind " + kind + " is not supported");
    }
  }

  PortProto port(Bytes bytes) {
    PortProto out;
    std::optional<Bytes> type;
    Message fields(source_, bytes, "value_info");
    for (Field field; fields.next(field);) {
      if (field.number == 1) {
        fields.once(field, "name");
        out.name = fields.text(field, "name");
      } else if (field.number == 2) {
        fields.once(field, "type");
        type = fields.message(field, "type");
      } else if (field.number == 3) {
        static_cast<void>(fields.text(field, "doc_string"));
      }
    }
    if (type) read_type(*type, out);
    return out;
  }

  void read_type(Bytes bytes, PortProto& out) {
    constexpr auto kKinds =
        std::to_array<const char*>({"", "tensor_type", "", "", "sequence_type", "map_type", "", "opaque_type",
                                    "sparse_tensor_type", "optional_type"});
    Message fields(source_, bytes, "type");
    for (Field field; fields.next(field);) {
      if (field.number == 6) static_cast<void>(fields.text(field, "denotation"));
      if (field.number >= kKinds.size() || *kKinds[field.number] == '\0') continue;
      if (!out.kind.empty()) fields.fail(field, kKinds[field.number], "is there beside " + out.kind);
      out.kind = kKinds[field.number];
      if (field.number == 1) read_tensor_type(fields.message(field, "tensor_type"), out);
    }
  }

  void read_tensor_type(Bytes bytes, PortProto& out) {
    Message fields(source_, bytes, "tensor_type");
    for (Field field; fields.next(field);) {
      if (field.number == 1) {
        fields.once(field, "elem_type");
        out.type = fields.integer(field, "elem_type");
      } else if (field.number == 2) {
        fields.once(field, "shape");
        out.has_shape = true;
        Message shape(source_, fields.message(field, "shape"), "shape");
        for (Field part; shape.next(part);) {
          if (part.number == 1) out.shape.push_back(dimension(shape.message(part, "dim")));
        }
      }
    }
  }

  Dimension dimension(Bytes bytes) {
    Dimension out;
    Message fields(source_, bytes, "dimension");
    for (Field field; fields.next(field);) {
      if (field.number == 1) out.size = fields.integer(field, "dim_value");
      if (field.number == 2) out.symbol = fields.text(field, "dim_param");
      if (field.number == 3) static_cast<void>(fields.text(field, "denotation"));
      if (out.size && !out.symbol.empty()) fields.fail(field, "dim_value", "is there beside dim_param");
    }
    if (out.size && *out.size < 0) out.size.reset();  // which some exporters write for open ones
    return out;
  }

  FunctionProto function(Bytes bytes) {
    FunctionProto out;
    Message fields(source_, bytes, "function");
    for (Field field; fields.next(field);) {
      switch (field.number) {
        case 1:
          out.name = fields.text(field, "name");
          break;
        case 4:
          out.inputs.push_back(fields.text(field, "input"));
          break;
        case 5:
          out.outputs.push_back(fields.text(field, "output"));
          break;
        case 7:
          out.nodes.push_back(node(fields.message(field, "node")));
          break;
        case 9:
          opset(fields.message(field, "opset_import"), out.opsets, false);
          break;
        case 10:
          out.domain = fields.text(field, "domain");
          break;
        case 11: {
          Node caller;
          caller.op = out.name;
          out.defaults.push_back(read_attribute(fields.message(field, "attribute_proto"), caller));
          break;
        }
        case 13:
          out.overload = fields.text(field, "overload");
          break;
        default:
          break;
      }
    }
    if (out.domain == "ai.onnx") out.domain.clear();
    return out;
  }

  const Source& source_;
  TensorReader& tensors_;
};

}  // namespace

ModelProto parse_model(const Source& source, TensorReader& tensors) {
  return Parser(source, tensors).model();
}

}  // namespace rdquant::graph
