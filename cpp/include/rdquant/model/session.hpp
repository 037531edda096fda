#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "rdquant/model/model.hpp"
#include "rdquant/runtime/session.hpp"

namespace rdquant::model {

/// A model from a file, ready to run; `run` may be called from several threads at once.
class Session {
 public:
  /// backend: "auto" for the best one. The threads of `options` decode a compressed file, too.
  /// @throws  as `open`; Unsupported: an operator that the engine lacks, or an unknown backend
  explicit Session(const std::string& path, std::string_view backend = "auto",
                   const runtime::Options& options = {});

  [[nodiscard]] const std::vector<graph::ValueInfo>& inputs() const noexcept { return inputs_; }
  [[nodiscard]] const std::vector<graph::ValueInfo>& outputs() const noexcept { return outputs_; }

  /// Outputs for inputs, both in the model's order. @throws InvalidArgument  an input that does not fit
  [[nodiscard]] std::vector<core::Tensor> run(std::span<const core::Tensor> inputs);

  /// Plans, profiles, other weights.
  [[nodiscard]] runtime::Session& engine() noexcept { return *engine_; }

 private:
  std::vector<graph::ValueInfo> inputs_, outputs_;
  std::unique_ptr<runtime::Session> engine_;
};

}  // namespace rdquant::model
