#include "runtime/native/builder.hpp"

#include <algorithm>
#include <utility>

#include "rdquant/core/parallel.hpp"
#include "rdquant/program/memory.hpp"
#include "runtime/kernels/float32/kernels.hpp"
#include "runtime/native/loops.hpp"

namespace rdquant::runtime::native {
namespace {

using program::kNone;
using program::Role;
using program::Step;
using program::Value;
using program::ValueId;

std::string layout_name(Layout layout) {
  if (layout == Layout::channels_last) return "channels last";
  return layout == Layout::plain ? "plain" : "blocked" + std::to_string(block_size());
}

/// A constant of float32 in blocks.
class BlockPacker final : public Packer {
 public:
  explicit BlockPacker(core::Shape shape) : shape_(std::move(shape)) {}
  void pack(const void* from, void* to) const override {
    const kernels::Kernels& own = kernels::kernels();
    const std::int64_t area = shape_[2] * shape_[3];
    const std::int64_t blocks = kernels::divide(shape_[1], own.block);
    own.to_blocked(static_cast<const float*>(from), shape_[1] * area, static_cast<float*>(to),
                   blocks * area * own.block, shape_[1], area, 0, shape_[0] * blocks);
  }

 private:
  core::Shape shape_;
};

/// Levels from one layout to the other.
StridedCopy conversion(const core::Shape& shape, Layout from, std::int64_t pixel) {
  const std::int64_t area = area_of(shape);
  const std::vector<std::int64_t> plain{shape[1] * area, 1, area}, last{area * pixel, pixel, 1};
  if (from == Layout::plain) return {{shape[0], area, shape[1]}, plain, last, 1};
  return {{shape[0], shape[1], area}, {area * pixel, 1, pixel}, {shape[1] * area, area, 1}, 1};
}

}  // namespace

Builder::Builder(const program::Program& program, const Options& options)
    : program_(program),
      threads_(core::resolve_threads(options.threads)),
      suppliers_(choose_suppliers()),
      placement_(place(program)),
      buffer_of_(program.values.size(), -1) {}

const Step* Builder::only_reader(ValueId id) const {
  if (std::ranges::find(program_.outputs, id) != program_.outputs.end()) return nullptr;
  const Step* reader = nullptr;
  for (const Step& step : program_.steps) {
    const auto times = std::ranges::count(step.inputs, id);
    if (times == 0) continue;
    if (times > 1 || reader != nullptr) return nullptr;
    reader = &step;
  }
  return reader;
}

std::int32_t Builder::add_buffer(Home home, std::size_t bytes, std::int32_t index) {
  plan_.buffers.push_back({home, bytes, index, 0});
  return static_cast<std::int32_t>(plan_.buffers.size()) - 1;
}

Place Builder::home(ValueId id) {
  const Placement::Spot spot = placement_.find(id);
  std::int32_t& buffer = buffer_of_[static_cast<std::size_t>(spot.root)];
  if (buffer < 0) {
    const Value& root = value(spot.root);
    const std::size_t bytes = bytes_in(root, layout(spot.root));
    if (root.role == Role::constant) {
      buffer = add_buffer(Home::constant, bytes, spot.root);
    } else if (root.role == Role::input) {
      const auto at = std::find(program_.inputs.begin(), program_.inputs.end(), spot.root);
      buffer = add_buffer(Home::input, bytes, static_cast<std::int32_t>(at - program_.inputs.begin()));
    } else {
      buffer = add_buffer(Home::arena, bytes);
    }
  }
  return {buffer, spot.offset};
}

Place Builder::read(ValueId id, Layout wanted) {
  if (wanted == layout(id) || layouts_coincide(value(id))) return home(id);
  if (is_int8(value(id))) return copy_once(id, wanted);
  return read_as(id, value(id).shape, wanted);
}

Place Builder::read_as(ValueId id, const core::Shape& shape, Layout wanted) {
  const bool same_shape = shape == value(id).shape;
  if (same_shape && (wanted == layout(id) || layouts_coincide(value(id)))) return home(id);
  if (!same_shape && layout(id) == Layout::blocked && !layouts_coincide(value(id))) {
    (void)read(id, Layout::plain);  // a blocked value takes another shape by way of the plain one
  }
  const Place from = same_shape ? home(id) : read(id, Layout::plain);
  const Layout have = same_shape ? layout(id) : Layout::plain;
  if (have == wanted || blocks_are_plain(shape)) return from;
  const std::size_t bytes = static_cast<std::size_t>(elements_in(shape, wanted)) * sizeof(float);
  if (value(id).role == Role::constant) return pack(id, bytes, std::make_shared<BlockPacker>(shape));
  const std::string key = std::to_string(id) + core::shape_text(shape) + layout_name(wanted);
  const auto found = copies_.find(key);
  if (found != copies_.end()) return found->second;
  const Place to{add_buffer(Home::arena, bytes), 0};
  add_reorder(shape, from, to, wanted);
  copies_.emplace(key, to);
  return to;
}

Place Builder::copy_once(ValueId id, Layout wanted) {
  const std::string key = std::to_string(id) + layout_name(wanted);
  const auto found = copies_.find(key);
  if (found != copies_.end()) return found->second;
  const Place from = home(id), to{add_buffer(Home::arena, bytes_in(value(id), wanted)), 0};
  add_conversion(id, from, layout(id), to, wanted);
  copies_.emplace(key, to);
  return to;
}

void Builder::add_conversion(ValueId id, Place from, Layout from_layout, Place to, Layout to_layout) {
  const core::Shape& shape = value(id).shape;
  if (!is_int8(value(id))) {
    return add_reorder(shape, from, to, to_layout);
  }
  if (core::element_count(shape) == 0) return;
  add_row("reorder", "copy", to_layout, false);
  plan_.rows.back().bytes = 2 * core::element_count(shape);
  plan_.ops.push_back(
      {make_copy(conversion(shape, from_layout, pixel(id)), threads_), {from, to}, plan_.rows.size() - 1});
}

Place Builder::write(ValueId id, Layout made) {
  if (made == layout(id) || layouts_coincide(value(id))) return home(id);
  const Place place = scratch(bytes_in(value(id), made));
  pending_.push_back({id, place, made, value(id).shape});
  return place;
}

Place Builder::write_as(ValueId id, const core::Shape& shape, Layout made) {
  if (shape == value(id).shape) return write(id, made);
  if (made == Layout::plain || blocks_are_plain(shape)) return write(id, Layout::plain);
  const Place place = scratch(static_cast<std::size_t>(elements_in(shape, made)) * sizeof(float));
  pending_.push_back({id, place, made, shape});
  return place;
}

Place Builder::scratch(std::size_t bytes) {
  return {add_buffer(Home::arena, std::max<std::size_t>(bytes, 1)), 0};
}

Place Builder::make_min_max(ValueId id) {
  const Place place = scratch(sizeof(float) * kMinMaxFloats * static_cast<std::size_t>(threads_));
  min_max_.emplace(id, place);
  return place;
}

std::optional<Place> Builder::min_max(ValueId id) const {
  const auto found = min_max_.find(id);
  return found == min_max_.end() ? std::nullopt : std::optional(found->second);
}

Place Builder::pack(ValueId id, std::size_t bytes, std::shared_ptr<const Packer> packer) {
  const std::int32_t buffer = add_buffer(Home::packed, bytes);
  plan_.packings.push_back({id, buffer, std::move(packer)});
  return {buffer, 0};
}

Place Builder::packed(ValueId id, std::size_t bytes, std::shared_ptr<const Packer> packer) {
  if (value(id).role == Role::constant) return pack(id, bytes, std::move(packer));
  const Place from = read(id, Layout::plain), to = scratch(bytes);
  prepare(make_native(
              "pack", 2,
              [packer = std::move(packer)](void* const* operand) { packer->pack(operand[0], operand[1]); }),
          {from, to});
  return to;
}

void Builder::prepare(std::shared_ptr<const Kernel> kernel, std::vector<Place> operands) {
  add_row("prepare", kernel->name(), Layout::plain, false);
  plan_.ops.push_back({std::move(kernel), std::move(operands), plan_.rows.size() - 1});
}

void Builder::add_row(std::string operation, std::string kernel, Layout made, bool costs, Supplier supplier) {
  PlannedStep row;
  row.operation = std::move(operation);
  row.kernel = std::move(kernel);
  row.supplier = supplier_name(supplier);
  row.layout = layout_name(made);
  if (costs) {
    const Step& step = program_.steps[static_cast<std::size_t>(step_)];
    const program::Cost cost = program::cost(program_, step);
    row.step = step_;
    row.node = step.node;
    row.inputs = step.inputs;
    row.outputs = step.outputs;
    row.macs = cost.macs;
    row.bytes = cost.bytes;
  }
  plan_.rows.push_back(std::move(row));
}

void Builder::add_reorder(const core::Shape& shape, Place from, Place to, Layout made) {
  auto kernel = made == Layout::plain ? make_plain(shape, threads_) : make_blocked(shape, threads_);
  add_row("reorder", kernel->name(), made, false);
  const std::int64_t elements = elements_in(shape, Layout::plain) + elements_in(shape, Layout::blocked);
  plan_.rows.back().bytes = elements * static_cast<std::int64_t>(sizeof(float));
  plan_.ops.push_back({std::move(kernel), {from, to}, plan_.rows.size() - 1});
}

void Builder::flush() {
  for (const Pending& pending : std::exchange(pending_, {})) {
    if (pending.shape == value(pending.id).shape)
      add_conversion(pending.id, pending.from, pending.layout, home(pending.id), layout(pending.id));
    else
      add_reorder(pending.shape, pending.from, home(pending.id), Layout::plain);
  }
}

void Builder::emit(std::shared_ptr<const Kernel> kernel, std::vector<Place> operands, Layout made) {
  const Step& step = program_.steps[static_cast<std::size_t>(step_)];
  add_row(std::string(program::operation_name(step.operation)), kernel->name(), made, true,
          kernel->supplier());
  plan_.ops.push_back({std::move(kernel), std::move(operands), plan_.rows.size() - 1});
  flush();
}

void Builder::note_view(Layout made, std::string kernel) {
  const Step& step = program_.steps[static_cast<std::size_t>(step_)];
  add_row(std::string(program::operation_name(step.operation)), std::move(kernel), made, true);
  plan_.rows.back().macs = plan_.rows.back().bytes = 0;
}

void Builder::absorb(const Step& step) { absorbed_.push_back(&step); }

void Builder::claim_outputs() {
  for (std::size_t i = 0; i < program_.outputs.size(); ++i) {
    const ValueId id = program_.outputs[i];
    const Placement::Spot spot = placement_.find(id);
    const Value& root = value(spot.root);
    const bool plain = layout(spot.root) == Layout::plain || layouts_coincide(root);
    std::int32_t& buffer = buffer_of_[static_cast<std::size_t>(spot.root)];
    const std::size_t bytes = bytes_in(root, layout(spot.root));
    if (root.role == Role::activation && buffer < 0 && plain && spot.offset == 0 &&
        bytes == bytes_in(value(id), Layout::plain)) {
      buffer = add_buffer(Home::output, bytes, static_cast<std::int32_t>(i));
    }
  }
}

void Builder::copy_outputs() {
  for (std::size_t i = 0; i < program_.outputs.size(); ++i) {
    const ValueId id = program_.outputs[i];
    const Place from = home(id);
    const Buffer& buffer = plan_.buffers[static_cast<std::size_t>(from.buffer)];
    if (buffer.home == Home::output && buffer.index == static_cast<std::int32_t>(i)) continue;
    if (value(id).shape.end() != std::find(value(id).shape.begin(), value(id).shape.end(), 0)) continue;
    const Place to{add_buffer(Home::output, bytes_in(value(id), Layout::plain), static_cast<std::int32_t>(i)),
                   0};
    if (layout(id) != Layout::plain && !layouts_coincide(value(id))) {
      add_conversion(id, from, layout(id), to, Layout::plain);
    } else {
      add_row("copy", "memcpy", Layout::plain, false);
      plan_.ops.push_back(
          {make_memcpy(bytes_in(value(id), Layout::plain)), {from, to}, plan_.rows.size() - 1});
    }
  }
}

void Builder::lower(std::int32_t index) {
  step_ = index;
  const Step& step = program_.steps[static_cast<std::size_t>(index)];
  if (std::ranges::find(absorbed_, &step) != absorbed_.end()) {
    note_view(layout(step.outputs[0]), "fused");
    return;
  }
  const bool reshape = std::holds_alternative<program::Reshape>(step.operation);
  const bool split = std::holds_alternative<program::Split>(step.operation);
  const bool view = step.outputs[0] != kNone &&
                    placement_.parent[static_cast<std::size_t>(step.outputs[0])] == step.inputs[0];
  if ((reshape || split) && view) {
    note_view(layout(step.outputs[0]));
    return;
  }
  for (const Rule rule : rules_for(*this, step)) {
    if (rule(*this, step)) return;
  }
}

void Builder::plan_arena() {
  std::vector<program::Lifetime> lifetimes;
  std::vector<std::size_t> owners(plan_.buffers.size(), plan_.buffers.size());
  std::vector<std::int32_t> buffers;
  for (std::size_t o = 0; o < plan_.ops.size(); ++o) {
    for (const Place& operand : plan_.ops[o].operands) {
      const auto b = static_cast<std::size_t>(operand.buffer);
      if (plan_.buffers[b].home != Home::arena) continue;
      const auto now = static_cast<std::int32_t>(o);
      if (owners[b] == plan_.buffers.size()) {
        owners[b] = lifetimes.size();
        buffers.push_back(operand.buffer);
        lifetimes.push_back({plan_.buffers[b].bytes, now, now});
      }
      lifetimes[owners[b]].last = now;
    }
  }
  const program::MemoryPlan memory = program::plan_memory(lifetimes);
  for (std::size_t i = 0; i < buffers.size(); ++i) {
    plan_.buffers[static_cast<std::size_t>(buffers[i])].offset = memory.offsets[i];
  }
  plan_.arena_bytes = memory.bytes;
  for (Buffer& buffer : plan_.buffers) {
    if (buffer.home != Home::packed) continue;
    buffer.offset = plan_.packed_bytes;
    plan_.packed_bytes += (buffer.bytes + core::kAlignment - 1) / core::kAlignment * core::kAlignment;
  }
}

PhysicalPlan Builder::build() {
  claim_outputs();
  for (std::size_t s = 0; s < program_.steps.size(); ++s) lower(static_cast<std::int32_t>(s));
  copy_outputs();
  plan_arena();
  return std::move(plan_);
}

}  // namespace rdquant::runtime::native
