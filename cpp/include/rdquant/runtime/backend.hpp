#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "rdquant/program/program.hpp"

namespace rdquant::runtime {

struct Options {
  int threads = 0;               ///< 0: all cores
  std::size_t memory_limit = 0;  ///< bytes of arena, packed weights and scratchpads; 0: none
  /// Called before every step of the reference, whose steps take long, on any thread; what it throws ends the run.
  std::function<void()> check = {};
};

/// What a plan reports about one step as it runs: steps of the Program, and what the backend adds (reorders).
struct PlannedStep {
  std::int32_t step = -1;  ///< index in Program::steps, −1 for what the backend added
  std::string operation, node,
      kernel;          ///< kernel: "jit:avx512_core", "depthwise avx512", "reference", "alias"
  std::string layout;  ///< of the output: "plain", "blocked16", …
  std::vector<program::ValueId> inputs, outputs;
  std::int64_t macs = 0, bytes = 0;
  std::string_view supplier = "reference";  ///< whose code runs it: "native", "onednn" or "reference"
};

/// Seconds of every planned step in one run.
using Times = std::vector<double>;

/// A Program made ready for one backend. `run` may be called from several threads at once: each call takes an
/// arena of its own from a pool. `update` must not run beside `run` (Session sees to that).
class Executable {
 public:
  virtual ~Executable() = default;
  /// Inputs and outputs in the Program's order, dense row-major, of the Program's dtypes and shapes; `times`
  /// is filled if given.
  virtual void run(std::span<const core::TensorView> inputs, std::span<const core::MutableTensorView> outputs,
                   Times* times = nullptr) = 0;
  /// Takes up constants whose data changed (program::set_weights): repacks those weights, nothing else.
  virtual void update(std::span<const program::ValueId> constants) = 0;
  /// True for a constant that `run` reads where it lies; of others the Executable has forms of its own.
  [[nodiscard]] virtual bool reads(program::ValueId constant) const = 0;
  [[nodiscard]] virtual std::vector<PlannedStep> plan() const = 0;
  /// Bytes of one arena, scratchpads included, and of packed weights.
  [[nodiscard]] virtual std::size_t arena_bytes() const = 0;
  [[nodiscard]] virtual std::size_t weight_bytes() const = 0;
};

class Backend {
 public:
  virtual ~Backend() = default;
  [[nodiscard]] virtual std::string_view name() const = 0;
  /// Why this machine or build cannot use it; nullopt if it can.
  [[nodiscard]] virtual std::optional<std::string> unavailable() const = 0;
  /// `program` must outlive the Executable and keep its address.
  /// @throws Unsupported  a step that the backend does not take
  /// @throws InvalidArgument  the memory limit would be exceeded: message says needed and allowed; nothing
  /// was allocated
  [[nodiscard]] virtual std::unique_ptr<Executable> prepare(const program::Program& program,
                                                            const Options& options) const = 0;
};

/// The backends of this build, best first.
[[nodiscard]] std::span<const Backend* const> backends();

/// "auto" gives the best one that is available. @throws Unsupported  unknown or unavailable name; says what
/// there is
[[nodiscard]] const Backend& backend(std::string_view name);

}  // namespace rdquant::runtime
