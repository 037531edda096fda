#include "runtime/native/native.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <iterator>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include "rdquant/core/error.hpp"
#include "rdquant/core/memory.hpp"
#include "rdquant/core/parallel.hpp"
#include "rdquant/program/memory.hpp"
#include "runtime/native/builder.hpp"

namespace rdquant::runtime {
namespace native {
namespace {

using program::Program;
using program::ValueId;

/// Kernels may load whole vectors past the last element.
core::Memory padded(std::size_t bytes) { return core::allocate(bytes + 2 * core::kAlignment); }

/// What one run at a time uses: an arena and every kernel bound to it.
struct Context {
  core::Memory arena;
  std::vector<std::unique_ptr<Bound>> bound;
  std::uint64_t epoch = 0;  ///< of the constants that it knows
  std::thread::id thread;   ///< the last that used it
};

/// An operand whose address must be set again.
struct Patch {
  std::size_t op, operand, offset;
  std::int32_t index;  ///< of the input, output or constant
};

class NativeExecutable final : public Executable {
 public:
  /// Packs weights with the caller's threads.
  NativeExecutable(const Program& program, PhysicalPlan plan, int threads)
      : program_(program), plan_(std::move(plan)), threads_(threads), packed_(padded(plan_.packed_bytes)) {
    for (std::size_t o = 0; o < plan_.ops.size(); ++o) {
      for (std::size_t i = 0; i < plan_.ops[o].operands.size(); ++i) {
        const Place& place = plan_.ops[o].operands[i];
        const Buffer& buffer = plan_.buffers[static_cast<std::size_t>(place.buffer)];
        const Patch patch{o, i, place.offset, buffer.index};
        if (buffer.home == Home::input) inputs_.push_back(patch);
        if (buffer.home == Home::output) outputs_.push_back(patch);
        if (buffer.home == Home::constant) constants_.push_back(patch);
      }
    }
    for (const Packing& packing : plan_.packings) pack(packing);
    free_.push_back(make_context());  // while memory that preparation gave back is at hand
  }

  void run(std::span<const core::TensorView> inputs, std::span<const core::MutableTensorView> outputs,
           Times* times) override {
    Context context = take();
    for (const Patch& patch : inputs_) {
      // no kernel writes to an input
      auto* at =
          static_cast<const std::byte*>(inputs[static_cast<std::size_t>(patch.index)].data) + patch.offset;
      context.bound[patch.op]->set(patch.operand, const_cast<std::byte*>(at));
    }
    for (const Patch& patch : outputs_) {
      auto* at = static_cast<std::byte*>(outputs[static_cast<std::size_t>(patch.index)].data) + patch.offset;
      context.bound[patch.op]->set(patch.operand, at);
    }
    if (times != nullptr) times->assign(plan_.rows.size(), 0.0);
    core::lead(threads_, [&] { times == nullptr ? run_ops(context) : time_ops(context, *times); });
    give(std::move(context));
  }

  void update(std::span<const ValueId> constants) override {
    for (const Packing& packing : plan_.packings) {
      if (std::find(constants.begin(), constants.end(), packing.source) != constants.end()) pack(packing);
    }
    ++epoch_;
  }

  [[nodiscard]] bool reads(ValueId constant) const override {
    return std::ranges::find(constants_, constant, &Patch::index) != constants_.end();
  }
  [[nodiscard]] std::vector<PlannedStep> plan() const override { return plan_.rows; }
  [[nodiscard]] std::size_t arena_bytes() const override { return plan_.arena_bytes; }
  [[nodiscard]] std::size_t weight_bytes() const override { return plan_.packed_bytes; }

 private:
  void pack(const Packing& packing) {
    packing.packer->pack(program_.values[static_cast<std::size_t>(packing.source)].data.data(),
                         packed_.get() + plan_.buffers[static_cast<std::size_t>(packing.buffer)].offset);
  }

  static void run_ops(const Context& context) {
    for (const std::unique_ptr<Bound>& op : context.bound) op->run();
  }

  void time_ops(const Context& context, Times& times) const {
    auto start = std::chrono::steady_clock::now();
    for (std::size_t o = 0; o < context.bound.size(); ++o) {
      context.bound[o]->run();
      const auto end = std::chrono::steady_clock::now();
      times[plan_.ops[o].row] = std::chrono::duration<double>(end - start).count();
      start = end;
    }
  }

  Context take() {
    Context context;
    {
      const std::lock_guard lock(mutex_);
      if (!free_.empty()) {
        // the one that lies in this core's cache, if any
        auto mine = std::ranges::find(free_, std::this_thread::get_id(), &Context::thread);
        if (mine == free_.end()) mine = std::prev(mine);
        context = std::move(*mine);
        free_.erase(mine);
      }
    }
    if (context.arena == nullptr) context = make_context();
    if (context.epoch != epoch_) {
      for (const Patch& patch : constants_) {
        const auto* data =
            static_cast<const std::byte*>(program_.values[static_cast<std::size_t>(patch.index)].data.data());
        context.bound[patch.op]->set(patch.operand, const_cast<std::byte*>(data) + patch.offset);
      }
      context.epoch = epoch_;
    }
    return context;
  }

  void give(Context context) {
    context.thread = std::this_thread::get_id();
    const std::lock_guard lock(mutex_);
    free_.push_back(std::move(context));
  }

  Context make_context() const {
    Context context{padded(plan_.arena_bytes), {}, 0, {}};
    for (const Op& op : plan_.ops) {
      context.bound.push_back(op.kernel->bind());
      for (std::size_t i = 0; i < op.operands.size(); ++i) {
        const Place& place = op.operands[i];
        const Buffer& buffer = plan_.buffers[static_cast<std::size_t>(place.buffer)];
        std::byte* base = buffer.home == Home::arena    ? context.arena.get()
                          : buffer.home == Home::packed ? packed_.get()
                                                        : nullptr;
        if (base != nullptr) context.bound.back()->set(i, base + buffer.offset + place.offset);
      }
    }
    return context;
  }

  const Program& program_;
  PhysicalPlan plan_;
  int threads_;
  core::Memory packed_;
  std::vector<Patch> inputs_, outputs_, constants_;
  std::uint64_t epoch_ = 1;  ///< of the constants; changes beside no run
  std::mutex mutex_;
  std::vector<Context> free_;
};

class Native final : public Backend {
 public:
  [[nodiscard]] std::string_view name() const override { return "native"; }
  [[nodiscard]] std::optional<std::string> unavailable() const override { return std::nullopt; }
  [[nodiscard]] std::unique_ptr<Executable> prepare(const Program& program,
                                                    const Options& options) const override {
    const int threads = core::resolve_threads(options.threads);
    PhysicalPlan plan = Builder(program, options).build();
    const std::size_t needed = plan.arena_bytes + plan.packed_bytes;
    if (options.memory_limit != 0 && needed > options.memory_limit) {
      throw core::InvalidArgument(
          program.name + " needs " + std::to_string(needed) + " bytes: " + std::to_string(plan.arena_bytes) +
          " for activations, " + std::to_string(plan.packed_bytes) +
          " for packed weights; the memory limit is " + std::to_string(options.memory_limit));
    }
    return std::make_unique<NativeExecutable>(program, std::move(plan), threads);
  }
};

}  // namespace
}  // namespace native

const Backend& native_backend() {
  static const native::Native instance;
  return instance;
}

}  // namespace rdquant::runtime
