#include "rdquant/model/model.hpp"

#include <utility>

#include "model/compressed.hpp"
#include "rdquant/core/text.hpp"

namespace rdquant::model {

std::string stem(const std::string& path) {
  const std::string name = core::as_utf8(path.substr(path.find_last_of('/') + 1));
  const std::size_t dot = name.find_last_of('.');
  return dot == std::string::npos || dot == 0 || dot + 1 == name.size() ? name : name.substr(0, dot);
}

Model open(const std::string& path, const Options& options) {
  return read(graph::Source::open(path), stem(path), options);
}

Model read(const graph::Source& source, const std::string& name, const Options& options) {
  if (is_compressed(source.bytes())) return read_compressed(source, name, options);
  graph::OnnxModel onnx = graph::read_onnx(
      source, name, {.view = options.view, .external_data = options.external_data, .stored = {}});
  Model model;
  model.graph = std::move(onnx.graph);
  model.inputs = std::move(onnx.inputs);
  model.outputs = std::move(onnx.outputs);
  model.payloads = std::move(onnx.payloads);
  return model;
}

}  // namespace rdquant::model
