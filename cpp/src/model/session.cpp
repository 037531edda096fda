#include "rdquant/model/session.hpp"

#include <utility>

namespace rdquant::model {

Session::Session(const std::string& path, std::string_view backend, const runtime::Options& options) {
  Options reading;
  reading.threads = options.threads;
  Model model = open(path, reading);
  inputs_ = std::move(model.inputs);
  outputs_ = std::move(model.outputs);
  engine_ = std::make_unique<runtime::Session>(std::move(model.graph), backend, options);
}

std::vector<core::Tensor> Session::run(std::span<const core::Tensor> inputs) {
  std::vector<core::TensorView> views;
  views.reserve(inputs.size());
  for (const core::Tensor& input : inputs) views.push_back(input.view());
  return engine_->run(views);
}

}  // namespace rdquant::model
