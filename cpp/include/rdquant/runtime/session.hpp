#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "rdquant/graph/graph.hpp"
#include "rdquant/runtime/backend.hpp"

namespace rdquant::runtime {

/// A model ready to run at any input shape: plans are made on demand, per shape, and kept (the latest few).
/// Safe to use from several threads: runs go side by side, set_weights waits for them and goes alone.
class Session {
 public:
  Session(graph::Graph graph, std::string_view backend, const Options& options);
  ~Session();

  /// Outputs in the graph's order for inputs in the graph's order. A batch of independent rows is spread over
  /// the threads, each row on one thread, where that is faster than one row on all.
  /// @throws InvalidArgument  wrong number of inputs, dtype, rank or size: the message says what the model
  /// wants
  [[nodiscard]] std::vector<core::Tensor> run(std::span<const core::TensorView> inputs);

  /// Replaces weights in every plan at the cost of repacking them.
  void set_weights(const std::map<std::string, core::Tensor>& tensors);

  [[nodiscard]] std::vector<PlannedStep> plan(const std::vector<core::Shape>& shapes);
  /// Seconds per planned step, for each of `runs` runs.
  [[nodiscard]] std::vector<Times> profile(std::span<const core::TensorView> inputs, int runs);
  [[nodiscard]] std::string dump(const std::vector<core::Shape>& shapes);
  [[nodiscard]] std::string_view backend() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace rdquant::runtime
