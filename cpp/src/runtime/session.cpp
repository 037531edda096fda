#include "rdquant/runtime/session.hpp"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <utility>

#include "rdquant/core/cpu.hpp"
#include "rdquant/core/error.hpp"
#include "rdquant/core/fork.hpp"
#include "rdquant/core/memory.hpp"
#include "rdquant/core/parallel.hpp"
#include "rdquant/program/memory.hpp"
#include "runtime/made_once.hpp"
#include "runtime/results.hpp"

namespace rdquant::runtime {
namespace {

using program::Program;
using Shapes = std::vector<core::Shape>;

/// A Program and the Executable that refers to it.
struct Prepared {
  Program program;
  std::unique_ptr<Executable> executable;

  [[nodiscard]] const program::Value& value(program::ValueId id) const {
    return program.values[static_cast<std::size_t>(id)];
  }
};

/// How a batch is run: whole, or in `pieces` of as many rows as `prepared` has and one of the rows that are
/// left, if any.
struct Route {
  std::shared_ptr<Prepared> prepared;
  std::int64_t pieces = 1;
  std::shared_ptr<Prepared> rest;

  [[nodiscard]] std::int64_t count() const { return pieces + (rest ? 1 : 0); }
};

std::string port_text(const graph::Port& port) {
  std::string text = "'" + port.name + "' (" + std::string(core::dtype_name(port.dtype)) + " [";
  for (std::size_t i = 0; i < port.shape.size(); ++i) {
    if (i > 0) text += ", ";
    text += port.shape[i] ? std::to_string(*port.shape[i]) : "?";
  }
  return text + "])";
}

std::int64_t bytes_of(const program::Value& value) {
  return core::element_count(value.shape) * static_cast<std::int64_t>(core::size_of(value.dtype));
}

/// Refuses a program with a value larger than the limit, before any backend makes room for it.
void check_room(const Program& program, std::size_t limit) {
  for (const program::Step& step : program.steps) {
    for (const program::ValueId id : step.outputs) {
      if (id == program::kNone) continue;
      const program::Value& value = program.values[static_cast<std::size_t>(id)];
      if (static_cast<std::size_t>(bytes_of(value)) <= limit) continue;
      throw core::InvalidArgument(
          program.name + " needs " + std::to_string(bytes_of(value)) + " bytes for the output of node '" +
          step.node + "', " + std::string(core::dtype_name(value.dtype)) + " of shape " +
          core::shape_text(value.shape) + "; the memory limit is " + std::to_string(limit));
    }
  }
}

/// Rows of a piece: one, or as many as make a piece's activations outweigh the weights, which every piece
/// reads again, and leave each thread a piece. A divisor of the batch, which needs one plan only, unless it
/// is small. All of them where the whole takes less than to begin pieces.
std::int64_t rows_per_piece(const Program& program, std::int64_t batch, std::int64_t threads) {
  constexpr std::int64_t kSmall = 1 << 16;  // bytes that a core's caches hold
  std::int64_t weights = 0, activations = 0, largest = 1;
  for (const program::Value& value : program.values) {
    if (value.role == program::Role::constant) {
      weights += bytes_of(value);
    } else {
      activations += bytes_of(value);
      largest = std::max(largest, bytes_of(value) / batch);
    }
  }
  if (weights + activations <= kSmall) return batch;
  const std::int64_t wanted = std::max<std::int64_t>(1, std::min(weights / largest, batch / threads));
  std::int64_t divisor = wanted;
  while (batch % divisor != 0) --divisor;
  return 2 * divisor >= wanted ? divisor : wanted;
}

std::int64_t rows_of(const program::Value& value) { return value.shape.empty() ? 1 : value.shape[0]; }

}  // namespace

struct Session::Impl {
  Impl(graph::Graph g, std::string_view name, const Options& o)
      : graph(std::move(g)), backend(runtime::backend(name)), options(o) {
    if (options.memory_limit == 0) options.memory_limit = core::physical_memory();
    options.check = [this] {
      if (stopped) throw core::Error("the run was stopped");
    };
    program::check_operators(graph);
  }

  graph::Graph graph;
  const Backend& backend;
  Options options;
  std::atomic<bool> stopped = false;
  std::mutex turn;            // taken first, so that set_weights is not overtaken by runs that come after it
  std::shared_mutex weights;  // shared by runs, held alone by set_weights
  std::shared_ptr<ResultPool> results = std::make_shared<ResultPool>();
  MadeOnce<std::pair<Shapes, int>, std::shared_ptr<Prepared>> plans{4};  // by shapes and threads
  MadeOnce<Shapes, std::int64_t> pieces{8};                              // rows_of_pieces

  [[nodiscard]] std::shared_lock<std::shared_mutex> lock_shared() {
    const std::lock_guard mine(turn);
    return std::shared_lock(weights);
  }
  [[nodiscard]] std::unique_lock<std::shared_mutex> lock_alone() {
    const std::lock_guard mine(turn);
    return std::unique_lock(weights);
  }

  [[nodiscard]] Shapes check(std::span<const core::TensorView> inputs) const {
    if (inputs.size() != graph.inputs.size()) {
      throw core::InvalidArgument(graph.name + " has " + std::to_string(graph.inputs.size()) +
                                  " inputs, got " + std::to_string(inputs.size()));
    }
    Shapes shapes;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      if (inputs[i].dtype != graph.inputs[i].dtype) {
        throw core::InvalidArgument("input " + port_text(graph.inputs[i]) + ": got dtype " +
                                    std::string(core::dtype_name(inputs[i].dtype)));
      }
      shapes.emplace_back(inputs[i].shape.begin(), inputs[i].shape.end());
    }
    return shapes;
  }

  [[nodiscard]] Program lowered(const Shapes& shapes) const {
    std::map<std::string, core::Shape> named;
    if (shapes.size() != graph.inputs.size()) {
      throw core::InvalidArgument(graph.name + " has " + std::to_string(graph.inputs.size()) +
                                  " inputs, got " + std::to_string(shapes.size()) + " shapes");
    }
    for (std::size_t i = 0; i < shapes.size(); ++i) named[graph.inputs[i].name] = shapes[i];
    return program::lower(graph, named);
  }

  /// The plan for inputs of these shapes; `program` is what they are lowered to, where known, and used up.
  std::shared_ptr<Prepared> prepare(const Shapes& shapes, int threads, std::optional<Program> program = {}) {
    return plans.get({shapes, threads}, [&] {
      auto made = std::make_shared<Prepared>();
      made->program = program ? *std::move(program) : lowered(shapes);
      check_room(made->program, options.memory_limit);
      made->executable = backend.prepare(made->program, {threads, options.memory_limit});
      forget_constants(*made);
      core::trim_memory();  // of weights in other forms, larger than what stays
      return made;
    });
  }

  /// Drops what the executable has packed or folded.
  static void forget_constants(Prepared& prepared) {
    std::vector<bool> read(prepared.program.values.size());
    for (std::size_t id = 0; id < read.size(); ++id)
      read[id] = prepared.executable->reads(static_cast<program::ValueId>(id));
    program::forget_constants(prepared.program, read);
  }

  [[nodiscard]] static Shapes with_rows(Shapes shapes, std::int64_t rows) {
    for (core::Shape& shape : shapes) shape[0] = rows;
    return shapes;
  }

  /// Rows of the pieces in which the batch is run: where its rows are independent, every thread gets a piece
  /// and the memory suffices; 0 where it is run whole. `whole` is what it is lowered to, if that was needed.
  std::int64_t rows_of_pieces(const Shapes& shapes, std::optional<Program>& whole) {
    const int threads = core::resolve_threads(options.threads);
    const std::int64_t batch = batch_of(shapes);
    if (batch < 2 || batch < threads) return 0;
    try {
      whole = lowered(shapes);
      if (!program::rows_are_independent(*whole)) return 0;
      const std::int64_t rows = rows_per_piece(*whole, batch, threads);
      if (rows == batch) return 0;
      const Route route = in_pieces(shapes, rows);
      const Executable& executable = *route.prepared->executable;
      std::size_t need =
          executable.weight_bytes() + executable.arena_bytes() * static_cast<std::size_t>(threads);
      if (route.rest) need += route.rest->executable->weight_bytes() + route.rest->executable->arena_bytes();
      return need > options.memory_limit ? 0 : rows;
    } catch (const core::InvalidArgument&) {
      return 0;  // the graph fixes its batch, or one piece exceeds the memory limit: run it whole
    }
  }

  [[nodiscard]] static std::int64_t batch_of(const Shapes& shapes) {
    return shapes.empty() || shapes[0].empty() ? 0 : shapes[0][0];
  }

  Route in_pieces(const Shapes& shapes, std::int64_t rows) {
    const std::int64_t batch = batch_of(shapes);
    Route route{prepare(with_rows(shapes, rows), 1), batch / rows, nullptr};
    if (batch % rows != 0) route.rest = prepare(with_rows(shapes, batch % rows), 1);
    return route;
  }

  Route route(const Shapes& shapes) {
    std::optional<Program> whole;
    const std::int64_t rows = pieces.get(shapes, [&] { return rows_of_pieces(shapes, whole); });
    return rows == 0 ? unsplit(shapes, std::move(whole)) : in_pieces(shapes, rows);
  }

  Route unsplit(const Shapes& shapes, std::optional<Program> program = {}) {
    return {prepare(shapes, options.threads, std::move(program)), 1, nullptr};
  }

  [[nodiscard]] std::vector<core::Tensor> outputs_of(const Route& route) const {
    const Program& program = route.prepared->program;
    std::vector<core::Tensor> outputs;
    for (const program::ValueId id : program.outputs) {
      const program::Value& value = program.values[static_cast<std::size_t>(id)];
      core::Shape shape = value.shape;
      if (route.pieces > 1) shape[0] *= route.pieces;
      if (route.rest) shape[0] += rows_of(route.rest->value(route.rest->program.outputs[outputs.size()]));
      outputs.push_back(results->tensor(value.dtype, std::move(shape)));
    }
    return outputs;
  }

  /// Runs `prepared` on its rows of the inputs, from row `first` on, into those of the outputs.
  static void run_piece(const Prepared& prepared, std::span<const core::TensorView> inputs,
                        std::span<const core::MutableTensorView> outputs, std::int64_t first) {
    std::vector<core::TensorView> in;
    std::vector<core::MutableTensorView> out;
    for (std::size_t k = 0; k < inputs.size(); ++k) {
      const program::Value& value = prepared.value(prepared.program.inputs[k]);
      const std::int64_t skip = first * (bytes_of(value) / rows_of(value));
      in.push_back({value.dtype, value.shape, inputs[k].as<std::byte>() + skip});
    }
    for (std::size_t k = 0; k < outputs.size(); ++k) {
      const program::Value& value = prepared.value(prepared.program.outputs[k]);
      const std::int64_t skip = first * (bytes_of(value) / rows_of(value));
      out.push_back({value.dtype, value.shape, outputs[k].as<std::byte>() + skip});
    }
    prepared.executable->run(in, out);
  }

  /// Runs piece `i` of a route.
  static void run_piece(const Route& route, std::span<const core::TensorView> inputs,
                        std::span<const core::MutableTensorView> outputs, std::int64_t i) {
    const std::int64_t rows = rows_of(route.prepared->value(route.prepared->program.inputs[0]));
    run_piece(i < route.pieces ? *route.prepared : *route.rest, inputs, outputs, i * rows);
  }
};

Session::Session(graph::Graph graph, std::string_view backend, const Options& options)
    : impl_(std::make_unique<Impl>(std::move(graph), backend, options)) {}

Session::~Session() = default;

std::vector<core::Tensor> Session::run(std::span<const core::TensorView> inputs) {
  const Shapes shapes = impl_->check(inputs);
  const core::ForkGuard guard;
  const std::shared_lock lock = impl_->lock_shared();
  const Route route = impl_->route(shapes);
  std::vector<core::Tensor> outputs = impl_->outputs_of(route);
  std::vector<core::MutableTensorView> views;
  for (core::Tensor& output : outputs) views.push_back(output.write());
  if (route.count() == 1) {
    route.prepared->executable->run(inputs, views);
    return outputs;
  }
  const auto threads = static_cast<std::size_t>(core::resolve_threads(impl_->options.threads));
  std::atomic<std::int64_t> next = 0;
  core::parallel_for(threads, 1, static_cast<int>(threads), [&](std::size_t, std::size_t) {
    for (std::int64_t i = next++; i < route.count(); i = next++) {
      impl_->options.check();
      Impl::run_piece(route, inputs, views, i);
    }
  });
  return outputs;
}

void Session::set_weights(const std::map<std::string, core::Tensor>& tensors) {
  std::vector<core::Tensor> replaced;  // freed after the locks: that may take a lock of their owner's
  const core::ForkGuard guard;
  const std::unique_lock lock = impl_->lock_alone();
  auto& known = impl_->graph.initializers;
  for (const auto& [name, tensor] : tensors) {
    const auto found = known.find(name);
    if (found == known.end())
      throw core::InvalidArgument(impl_->graph.name + " has no weight '" + name + "'");
    if (found->second.dtype() != tensor.dtype() || found->second.shape() != tensor.shape()) {
      throw core::InvalidArgument(
          "weight '" + name + "': expected " + std::string(core::dtype_name(found->second.dtype())) +
          " of shape " + core::shape_text(found->second.shape()) + ", got " +
          std::string(core::dtype_name(tensor.dtype())) + " of shape " + core::shape_text(tensor.shape()));
    }
  }
  for (const auto& [name, tensor] : tensors) replaced.push_back(std::exchange(known[name], tensor));
  const auto plans = impl_->plans.all();
  for (const auto& plan : plans) {
    const auto& baked = plan->program.baked;
    if (std::ranges::any_of(tensors, [&](const auto& entry) { return baked.contains(entry.first); })) {
      impl_->plans.clear();  // the plan itself depends on the values
      impl_->pieces.clear();
      return;
    }
  }
  for (const auto& plan : plans) {
    plan->executable->update(program::set_weights(plan->program, tensors));
    Impl::forget_constants(*plan);
  }
}

void Session::stop(bool stopped) { impl_->stopped = stopped; }

Plan Session::plan(const Shapes& shapes, bool whole) {
  const core::ForkGuard guard;
  const std::shared_lock lock = impl_->lock_shared();
  const Route route = whole ? impl_->unsplit(shapes) : impl_->route(shapes);
  Plan plan{route.prepared->executable->plan(),
            {},
            route.prepared->executable->arena_bytes(),
            route.prepared->executable->weight_bytes(),
            route.count()};
  for (const program::Value& value : route.prepared->program.values) plan.names.push_back(value.name);
  return plan;
}

std::vector<Times> Session::profile(std::span<const core::TensorView> inputs, int runs) {
  const Shapes shapes = impl_->check(inputs);
  const core::ForkGuard guard;
  const std::shared_lock lock = impl_->lock_shared();
  const Route route = impl_->unsplit(shapes);
  const std::shared_ptr<Prepared> prepared = route.prepared;
  std::vector<core::Tensor> outputs = impl_->outputs_of(route);
  std::vector<core::MutableTensorView> views;
  for (core::Tensor& output : outputs) views.push_back(output.write());
  prepared->executable->run(inputs, views);
  std::vector<Times> all(static_cast<std::size_t>(std::max(runs, 0)));
  for (Times& times : all) prepared->executable->run(inputs, views, &times);
  return all;
}

std::string Session::dump(const Shapes& shapes) {
  const core::ForkGuard guard;
  const std::shared_lock lock = impl_->lock_shared();
  return program::dump(impl_->lowered(shapes));
}

std::string_view Session::backend() const { return impl_->backend.name(); }

}  // namespace rdquant::runtime
