#include "rdquant/model/model.hpp"

#include <algorithm>
#include <map>
#include <utility>

#include "model/compressed.hpp"
#include "rdquant/core/error.hpp"
#include "rdquant/core/text.hpp"
#include "rdquant/program/program.hpp"

namespace rdquant::model {

std::string stem(const std::string& path) {
  const std::string name = core::as_utf8(path.substr(path.find_last_of('/') + 1));
  const std::size_t dot = name.find_last_of('.');
  return dot == std::string::npos || dot == 0 || dot + 1 == name.size() ? name : name.substr(0, dot);
}

Model open(const std::string& path, const Options& options) {
  return read(graph::Source::open(path), stem(path), options);
}

namespace {

bool is_declared(const graph::ValueInfo& output) { return output.has_type && output.has_shape; }

/// The graph lowered with `size` for every size that the inputs leave open.
program::Program lowered(const Model& model, std::int64_t size) {
  std::map<std::string, core::Shape> shapes;
  for (const graph::ValueInfo& input : model.inputs) {
    core::Shape& shape = shapes[input.name];
    for (const graph::Dimension& dimension : input.shape) shape.push_back(dimension.size.value_or(size));
  }
  return program::lower(model.graph, shapes, {.fuse = false});
}

/// Some networks take no images of one pixel: the first size that the graph takes.
program::Program lowered(const Model& model) {
  for (const std::int64_t size : {1, 8, 64}) {
    try {
      return lowered(model, size);
    } catch (const core::InvalidArgument&) {
    }
  }
  return lowered(model, 224);
}

/// Types and shapes of outputs that the file leaves out, from what the graph is lowered to. Where a size of the inputs is
/// open, those of such outputs are, too.
void infer_outputs(Model& model, const std::string& file) {
  const auto missing = std::ranges::find_if_not(model.outputs, is_declared);
  if (missing == model.outputs.end()) return;
  const bool open = std::ranges::any_of(model.inputs, [](const graph::ValueInfo& input) {
    return std::ranges::any_of(input.shape, [](const graph::Dimension& d) { return !d.size; });
  });
  try {
    const program::Program program = lowered(model);
    for (std::size_t i = 0; i < model.outputs.size(); ++i) {
      graph::ValueInfo& output = model.outputs[i];
      const program::Value& value = program.values[static_cast<std::size_t>(program.outputs[i])];
      if (!output.has_type) output.dtype = value.dtype;
      if (output.has_shape) continue;
      for (const std::int64_t size : value.shape) {
        output.shape.push_back(open ? graph::Dimension{} : graph::Dimension{size, ""});
      }
    }
  } catch (const core::Error& error) {
    throw core::Unsupported(file + ": field output: " + core::in_quotes(missing->name) + " has no " +
                            (missing->has_type ? "shape" : "type") +
                            ", and none could be inferred (write it into the file): " + error.what());
  }
}

}  // namespace

Model read(const graph::Source& source, const std::string& name, const Options& options) {
  if (is_compressed(source.bytes())) {
    Model model = read_compressed(source, name, options);
    infer_outputs(model, source.name());
    return model;
  }
  graph::OnnxModel onnx = graph::read_onnx(
      source, name, {.view = options.view, .external_data = options.external_data, .stored = {}});
  Model model;
  model.graph = std::move(onnx.graph);
  model.inputs = std::move(onnx.inputs);
  model.outputs = std::move(onnx.outputs);
  model.payloads = std::move(onnx.payloads);
  infer_outputs(model, source.name());
  return model;
}

}  // namespace rdquant::model
