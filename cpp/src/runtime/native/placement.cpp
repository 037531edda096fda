#include "runtime/native/placement.hpp"

#include <algorithm>
#include <limits>

namespace rdquant::runtime::native {
namespace {

using program::kNone;
using program::Program;
using program::Role;
using program::Step;
using program::Value;
using program::ValueId;

bool is_image(const Value& value) { return value.dtype == core::DType::f32 && value.shape.size() == 4; }

class Placer {
 public:
  explicit Placer(const Program& program) : program_(program) {
    const std::size_t count = program.values.size();
    placement_.layout.assign(count, Layout::plain);
    placement_.offset.assign(count, 0);
    for (std::size_t v = 0; v < count; ++v) placement_.parent.push_back(static_cast<ValueId>(v));
    find_uses();
  }

  Placement run() {
    for (const Step& step : program_.steps) choose_layout(step);
    for (const Step& step : program_.steps) make_views(step);
    for (auto step = program_.steps.rbegin(); step != program_.steps.rend(); ++step) {
      if (std::holds_alternative<program::Concat>(step->operation)) join(*step);
    }
    for (std::size_t s = 0; s < program_.steps.size(); ++s) overwrite(static_cast<std::int32_t>(s));
    return std::move(placement_);
  }

 private:
  [[nodiscard]] const Value& value(ValueId id) const { return value_of(program_, id); }
  [[nodiscard]] Layout& layout(ValueId id) { return placement_.layout[static_cast<std::size_t>(id)]; }
  [[nodiscard]] std::size_t bytes(ValueId id) { return bytes_in(value(id), layout(id)); }
  [[nodiscard]] bool is_root(ValueId id) const {
    return placement_.parent[static_cast<std::size_t>(id)] == id;
  }

  void find_uses() {
    last_use_.assign(program_.values.size(), -1);
    for (std::size_t s = 0; s < program_.steps.size(); ++s) {
      for (const ValueId id : program_.steps[s].inputs) {
        if (id != kNone) last_use_[static_cast<std::size_t>(id)] = static_cast<std::int32_t>(s);
      }
    }
    for (const ValueId id : program_.outputs) {
      last_use_[static_cast<std::size_t>(id)] = std::numeric_limits<std::int32_t>::max();
    }
  }

  void choose_layout(const Step& step) {
    if (!all_float(program_, step)) return choose_int8_layout(step);
    for (const ValueId id : step.outputs) {
      if (id != kNone && is_image(value(id)) && makes_blocks(step)) layout(id) = Layout::blocked;
    }
  }

  [[nodiscard]] bool is_int8_image(ValueId id) const {
    return id != kNone && is_int8(value(id)) && (value(id).shape.size() == 4 || value(id).shape.size() == 5);
  }

  /// Levels of images and volumes go channels last from where they are made; floats made of them in blocks, where
  /// convolutions read them.
  void choose_int8_layout(const Step& step) {
    const auto& operation = step.operation;
    const ValueId out = step.outputs.empty() ? kNone : step.outputs[0];
    if (out == kNone) return;
    if (is_int8_image(out)) {
      const bool quantizes = std::holds_alternative<program::Quantize>(operation) ||
                             std::holds_alternative<program::DynamicQuantize>(operation);
      const bool starts = std::holds_alternative<program::Int8Convolution>(operation) ||
                          (quantizes && !is_reshaped(program_, out));
      if (!starts && !keeps_channels_last(step) && !brings_channels_last(program_, step)) return;
      for (const ValueId id : step.outputs) {
        if (is_int8_image(id)) layout(id) = Layout::channels_last;
      }
    } else if (is_image(value(out))) {
      const bool made = std::holds_alternative<program::Int8Convolution>(operation);
      const bool read =
          std::holds_alternative<program::Dequantize>(operation) &&
          (is_read_in_blocks(program_, out) || is_resampled(out) || is_kept_in_blocks(program_, out));
      if (made || read) layout(out) = Layout::blocked;
    }
  }

  [[nodiscard]] bool is_resampled(ValueId id) const {
    return 2 * value(id).shape[1] >= block_size() &&
           std::ranges::any_of(program_.steps, [&](const Step& step) {
             return !step.inputs.empty() && step.inputs[0] == id && is_resampled_image(program_, step);
           });
  }

  /// Whether the step makes levels channels last of such levels.
  [[nodiscard]] bool keeps_channels_last(const Step& step) {
    const auto& operation = step.operation;
    const auto last = [&](ValueId id) { return id != kNone && layout(id) == Layout::channels_last; };
    if (const auto* concat = std::get_if<program::Concat>(&operation))
      return concat->axis == 1 && std::ranges::all_of(step.inputs, last);
    if (std::holds_alternative<program::Int8Binary>(operation)) {
      if (!is_image_binary(program_, step)) return false;
      const auto whole = [&](ValueId id) { return value(id).shape == value(step.outputs[0]).shape; };
      const ValueId a = step.inputs[0], b = step.inputs[1];
      return (last(a) && (last(b) || !whole(b))) || (last(b) && !whole(a));
    }
    if (!last(step.inputs[0])) return false;
    if (const auto* split = std::get_if<program::Split>(&operation))
      return split->axis == 1 && std::ranges::none_of(step.outputs, [](ValueId id) { return id == kNone; });
    if (std::holds_alternative<program::Pool>(operation))
      return step.outputs.size() < 2 || step.outputs[1] == kNone;
    if (std::holds_alternative<program::Resize>(operation)) return is_int8_resize(program_, step);
    if (const auto* pad = std::get_if<program::Pad>(&operation)) return is_frame(*pad);
    if (std::holds_alternative<program::DepthToSpace>(operation) ||
        std::holds_alternative<program::SpaceToDepth>(operation))
      return !is_reshaped(program_, step.outputs[0]);
    return std::holds_alternative<program::Slice>(operation) ||
           std::holds_alternative<program::Lookup>(operation) ||
           std::holds_alternative<program::Int8Pool>(operation);
  }

  [[nodiscard]] bool is_blocked(ValueId id) { return id != kNone && layout(id) == Layout::blocked; }

  /// Whether a Resize makes a small image large for a convolution: the small one is brought into blocks.
  [[nodiscard]] bool is_enlarged_for_blocks(const Step& step) {
    const ValueId x = step.inputs[0], y = step.outputs[0];
    if (!is_resampled_image(program_, step) || !is_image(value(x)) ||
        core::element_count(value(y).shape) < 2 * core::element_count(value(x).shape))
      return false;
    return std::ranges::any_of(program_.steps, [&](const Step& reader) {
      if (std::ranges::find(reader.inputs, y) == reader.inputs.end()) return false;
      const auto* concat = std::get_if<program::Concat>(&reader.operation);
      return std::holds_alternative<program::Convolution>(reader.operation) ||
             (concat != nullptr && concat->axis == 1 && is_read_in_blocks(program_, reader.outputs[0], 0));
    });
  }

  /// Whether most of the numbers lie in blocks already.
  [[nodiscard]] bool is_mostly_blocked(const std::vector<ValueId>& parts) {
    std::int64_t blocked = 0, all = 0;
    for (const ValueId id : parts) {
      const std::int64_t count = core::element_count(value(id).shape);
      all += count;
      if (is_blocked(id)) blocked += count;
    }
    return 2 * blocked > all;
  }

  /// Whether the step gives blocked images, from what its inputs are.
  [[nodiscard]] bool makes_blocks(const Step& step) {
    const ValueId first = step.inputs.empty() ? kNone : step.inputs[0];
    const auto& operation = step.operation;
    if (std::holds_alternative<program::Convolution>(operation) ||
        std::holds_alternative<program::TransposedConvolution>(operation)) {
      // of so few channels most lanes would be empty, for whatever follows, too
      const ValueId y = step.outputs[0];
      return 4 * value(y).shape[1] > block_size() || is_read_in_blocks(program_, y);
    }
    if (std::holds_alternative<program::Binary>(operation)) {
      return is_plain_binary(program_, step) && (is_blocked(first) || is_blocked(step.inputs[1]));
    }
    if (std::holds_alternative<program::Resize>(operation) && is_enlarged_for_blocks(step)) return true;
    if (const auto* concat = std::get_if<program::Concat>(&operation)) {
      return concat->axis == 1 && is_mostly_blocked(step.inputs) &&
             (whole_blocks(program_, step.inputs) || is_read_in_blocks(program_, step.outputs[0]));
    }
    if (const auto* transpose = std::get_if<program::Transpose>(&operation)) {
      return transpose->permutation == std::vector<std::int64_t>{0, 3, 1, 2} && !is_blocked(first) &&
             is_read_in_blocks(program_, step.outputs[0]);
    }
    if (!is_blocked(first)) return false;
    if (std::holds_alternative<program::Unary>(operation)) return is_plain_unary(program_, step);
    if (std::holds_alternative<program::Pool>(operation)) {
      const core::Shape& y = value(step.outputs[0]).shape;
      return is_plain_pool(program_, step) && (y[2] > 1 || y[3] > 1);  // means of images are made plain
    }
    if (std::holds_alternative<program::Resize>(operation))
      return is_nearest_image_resize(program_, step) || is_resampled_image(program_, step);
    if (std::holds_alternative<program::Pad>(operation)) return is_image_pad(program_, step);
    if (std::holds_alternative<program::GridSample>(operation))
      return is_sampled_image(program_, step) && 2 * value(first).shape[1] >= block_size();
    if (std::holds_alternative<program::BatchNormalization>(operation) ||
        std::holds_alternative<program::GroupNormalization>(operation) ||
        std::holds_alternative<program::LocalResponseNormalization>(operation))
      return true;
    if (const auto* split = std::get_if<program::Split>(&operation)) {
      return split->axis == 1 && std::ranges::none_of(step.outputs, [](ValueId id) { return id == kNone; }) &&
             (whole_blocks(program_, step.outputs) ||
              std::ranges::any_of(step.outputs, [&](ValueId id) { return is_read_in_blocks(program_, id); }));
    }
    return false;
  }

  void attach(ValueId child, ValueId parent, std::size_t offset) {
    placement_.parent[static_cast<std::size_t>(child)] = parent;
    placement_.offset[static_cast<std::size_t>(child)] = offset;
  }

  [[nodiscard]] bool is_plain(ValueId id) {
    return layout(id) == Layout::plain || layouts_coincide(value(id));
  }

  /// Parts along `axis` lie one after the other: every axis before it has one entry.
  [[nodiscard]] bool parts_are_ranges(ValueId whole, std::int64_t axis) const {
    const core::Shape& shape = value(whole).shape;
    return std::all_of(shape.begin(), shape.begin() + axis, [](std::int64_t n) { return n == 1; });
  }

  void make_views(const Step& step) {
    if (std::holds_alternative<program::Reshape>(step.operation)) {
      const ValueId from = step.inputs[0];
      const ValueId to = step.outputs[0];
      if (is_plain(from) && is_plain(to) && value(from).dtype == value(to).dtype) attach(to, from, 0);
      return;
    }
    const auto* split = std::get_if<program::Split>(&step.operation);
    if (split == nullptr) return;
    const bool strided = layout(step.inputs[0]) == Layout::channels_last;
    if (strided ? !is_strided(step.inputs[0]) : !parts_are_ranges(step.inputs[0], split->axis)) return;
    std::size_t offset = 0;
    for (const ValueId part : step.outputs) {
      if (part == kNone ||
          (layout(part) != layout(step.inputs[0]) && !(is_plain(part) && is_plain(step.inputs[0])))) {
        return;
      }
    }
    if (is_blocked(step.outputs[0]) && !whole_blocks(program_, step.outputs)) return;
    for (const ValueId part : step.outputs) {
      attach(part, step.inputs[0], offset);
      offset += strided ? channels(part) : bytes(part);
    }
  }

  /// Channels last, and of several pixels: parts of it lie apart by whole pixels. One pixel would be taken
  /// for plain.
  [[nodiscard]] bool is_strided(ValueId id) {
    return layout(id) == Layout::channels_last && area_of(value(id).shape) > 1;
  }
  /// What makes levels of floats writes whole groups of channels, beyond the last too.
  [[nodiscard]] bool spills(ValueId id) const {
    if (value(id).shape[1] % kChannels == 0) return false;
    return std::ranges::any_of(program_.steps, [&](const Step& step) {
      const bool makes = std::holds_alternative<program::Quantize>(step.operation) ||
                         std::holds_alternative<program::DynamicQuantize>(step.operation);
      return makes && step.outputs[0] == id;
    });
  }
  [[nodiscard]] std::size_t channels(ValueId id) const {
    return static_cast<std::size_t>(value(id).shape[1]);
  }

  /// The parts of a Split that stand side by side among `inputs` from `i` on: as many as it has, or none.
  [[nodiscard]] const Step* split_at(const std::vector<ValueId>& inputs, std::size_t i) const {
    for (const Step& step : program_.steps) {
      if (!std::holds_alternative<program::Split>(step.operation)) continue;
      const std::vector<ValueId>& parts = step.outputs;
      if (parts.size() > inputs.size() - i ||
          !std::equal(parts.begin(), parts.end(), inputs.begin() + static_cast<std::ptrdiff_t>(i)))
        continue;
      if (placement_.parent[static_cast<std::size_t>(parts[0])] == step.inputs[0]) return &step;
    }
    return nullptr;
  }

  /// Lets the inputs of a concatenation be made where it lies.
  void join(const Step& step) {
    const ValueId whole = step.outputs[0];
    const bool strided = is_strided(whole);
    if (!strided && (layout(whole) == Layout::channels_last ||
                     !parts_are_ranges(whole, std::get<program::Concat>(step.operation).axis))) {
      return;
    }
    const bool in_blocks = layout(whole) == Layout::blocked;
    std::size_t offset = 0;
    for (std::size_t i = 0; i < step.inputs.size(); ++i) {
      // what follows a block that a part does not fill is moved there lane by lane
      if (in_blocks && !whole_blocks(program_, {step.inputs[i], whole}) && i + 1 < step.inputs.size()) return;
      const Step* split = split_at(step.inputs, i);
      const ValueId part = split != nullptr ? split->inputs[0] : step.inputs[i];
      const bool fits = layout(part) == layout(whole) || (is_plain(part) && is_plain(whole));
      if (value(part).role == Role::activation && is_root(part) && fits && !(strided && spills(part)) &&
          placement_.find(whole).root != part) {
        attach(part, whole, offset);
      }
      // a part that is copied here may lie elsewhere in blocks
      offset += strided ? channels(part) : bytes_in(value(part), layout(whole));
      if (split != nullptr) i += split->outputs.size() - 1;
    }
  }

  /// Lets the step's output take the memory of an input that dies there.
  void overwrite(std::int32_t s) {
    const Step& step = program_.steps[static_cast<std::size_t>(s)];
    const bool scatters = is_constant_scatter(program_, step);
    if (step.outputs.empty() || step.outputs[0] == kNone || (!scatters && !all_float(program_, step))) return;
    const ValueId out = step.outputs[0];
    const auto take = [&](ValueId in) {
      if (in == kNone || in == out || value(in).shape != value(out).shape || layout(in) != layout(out))
        return false;
      return dies_at(in, s) && unite(in, out);
    };
    if (std::holds_alternative<program::Unary>(step.operation)) {
      if (is_plain_unary(program_, step)) take(step.inputs[0]);
    } else if (std::holds_alternative<program::Softmax>(step.operation)) {
      take(step.inputs[0]);
    } else if (std::holds_alternative<program::GroupNormalization>(step.operation)) {
      const auto shares = [&](ValueId id) { return id != kNone && overlap(step.inputs[0], id); };
      if (std::none_of(step.inputs.begin() + 1, step.inputs.end(), shares)) take(step.inputs[0]);
    } else if (scatters) {
      const ValueId x = step.inputs[0];
      if (!overlap(x, step.inputs[1]) && !overlap(x, step.inputs[2])) take(x);
    } else if (std::holds_alternative<program::Binary>(step.operation)) {
      if (is_plain_binary(program_, step) && !take(step.inputs[0])) take(step.inputs[1]);
    } else if (const auto* convolution = std::get_if<program::Convolution>(&step.operation)) {
      // added last it must outlive the sums, which kernels store on the way; so do those of grouped volumes
      const bool volume = value(out).shape.size() == 5;
      if (convolution->residual_last || (volume && convolution->groups != 1)) return;
      const ValueId residual = program::input(step, 3);
      if (residual != kNone && !overlap(residual, step.inputs[0])) take(residual);
    }
  }

  [[nodiscard]] bool overlap(ValueId a, ValueId b) {
    const Placement::Spot x = placement_.find(a);
    const Placement::Spot y = placement_.find(b);
    return x.root == y.root && x.offset < y.offset + bytes(b) && y.offset < x.offset + bytes(a);
  }

  /// Nobody reads the memory of `id` after step `s`.
  [[nodiscard]] bool dies_at(ValueId id, std::int32_t s) {
    if (value(placement_.find(id).root).role != Role::activation) return false;
    for (std::size_t v = 0; v < program_.values.size(); ++v) {
      if (last_use_[v] > s && overlap(static_cast<ValueId>(v), id)) return false;
    }
    return true;
  }

  bool unite(ValueId in, ValueId out) {
    if (is_root(out)) {
      attach(out, in, 0);
      return true;
    }
    if (!is_root(in) || placement_.find(out).root == in) return false;
    attach(in, out, 0);
    return true;
  }

  const Program& program_;
  Placement placement_;
  std::vector<std::int32_t> last_use_;
};

}  // namespace

Placement::Spot Placement::find(ValueId id) const {
  Spot spot{id, 0};
  while (parent[static_cast<std::size_t>(spot.root)] != spot.root) {
    spot.offset += offset[static_cast<std::size_t>(spot.root)];
    spot.root = parent[static_cast<std::size_t>(spot.root)];
  }
  return spot;
}

bool Placement::same_spot(ValueId a, ValueId b) const {
  const Spot x = find(a);
  const Spot y = find(b);
  return x.root == y.root && x.offset == y.offset;
}

std::int64_t Placement::pixel(const Program& program, ValueId id) const {
  const ValueId root = find(id).root;
  const bool whole = layout[static_cast<std::size_t>(root)] == Layout::channels_last &&
                     layout[static_cast<std::size_t>(id)] == Layout::channels_last;
  const std::int64_t channels = value_of(program, whole ? root : id).shape[1];
  return (channels + kChannels - 1) / kChannels * kChannels;
}

Placement place(const Program& program) { return Placer(program).run(); }

std::size_t bytes_in(const Value& value, Layout layout) {
  return static_cast<std::size_t>(elements_in(value.shape, layout)) * core::size_of(value.dtype);
}

bool layouts_coincide(const Value& value) {
  if (!is_int8(value) || value.shape.size() < 4 || value.shape.size() > 5)
    return blocks_are_plain(value.shape);
  return area_of(value.shape) == 1 && value.shape[1] % kChannels == 0;
}

}  // namespace rdquant::runtime::native
