#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "rdquant/graph/graph.hpp"
#include "rdquant/runtime/backend.hpp"

namespace rdquant::runtime {

/// What a Session does for inputs of given shapes.
struct Plan {
  std::vector<PlannedStep> steps;
  std::vector<std::string> names;  ///< of the values that steps refer to
  std::size_t arena_bytes = 0;     ///< of one run
  std::size_t weight_bytes = 0;    ///< packed for the backend
  std::int64_t pieces = 1;         ///< the batch is run in so many, each on one thread
};

/// A model ready to run at any input shape: plans are made on demand, per shape, and kept (the latest few).
/// Safe to use from several threads: runs go side by side, set_weights waits for them and goes alone.
class Session {
 public:
  Session(graph::Graph graph, std::string_view backend, const Options& options);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  /// Outputs in the graph's order for inputs in the graph's order. A batch of independent rows is spread over
  /// the threads, each row on one thread, where there are at least as many rows as threads.
  /// @throws InvalidArgument  wrong number of inputs, dtype, rank or size: the message says what the model
  /// wants
  [[nodiscard]] std::vector<core::Tensor> run(std::span<const core::TensorView> inputs);

  /// Replaces weights in every plan at the cost of repacking them.
  /// @throws InvalidArgument  an unknown name, another dtype or shape; nothing has changed then
  void set_weights(const std::map<std::string, core::Tensor>& tensors);

  /// While `stopped`, runs end at their next piece of the batch, those of the reference at their next step: they
  /// throw core::Error. Takes no lock.
  void stop(bool stopped);

  /// What `run` does for these shapes; what `profile` does where `whole`.
  [[nodiscard]] Plan plan(const std::vector<core::Shape>& shapes, bool whole = false);
  /// Seconds per planned step, for each of `runs` runs after one that is not counted; the batch is not split.
  [[nodiscard]] std::vector<Times> profile(std::span<const core::TensorView> inputs, int runs);
  [[nodiscard]] std::string dump(const std::vector<core::Shape>& shapes);
  [[nodiscard]] std::string_view backend() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace rdquant::runtime
