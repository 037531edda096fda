#include <algorithm>
#include <cstring>
#include <numeric>

#include "rdquant/program/evaluate.hpp"
#include "runtime/native/builder.hpp"
#include "runtime/native/float32/convolution.hpp"
#include "runtime/native/loops.hpp"
#include "runtime/native/movement/channels.hpp"
#include "runtime/native/rules.hpp"

namespace rdquant::runtime::native {
namespace {

using core::Shape;
using program::kNone;
using program::Step;
using program::Value;
using program::ValueId;

std::vector<std::int64_t> strides_of(const Shape& shape) {
  std::vector<std::int64_t> strides(shape.size(), 1);
  for (std::size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * shape[i];
  return strides;
}

/// The layout in which a value is moved: levels lie as they are, floats plain.
Layout layout_to_move(const Builder& builder, ValueId id) {
  return is_int8(builder.value(id)) ? builder.layout(id) : Layout::plain;
}

/// Elements between neighbours along each axis in that layout.
std::vector<std::int64_t> strides_to_move(const Builder& builder, ValueId id) {
  const Shape& shape = builder.value(id).shape;
  if (layout_to_move(builder, id) == Layout::plain) return strides_of(shape);
  std::vector<std::int64_t> strides(shape.size(), 1);
  std::int64_t step = builder.pixel(id);
  for (std::size_t axis = shape.size() - 1; axis > 1; --axis) {
    strides[axis] = step;
    step *= shape[axis];
  }
  strides[0] = step;
  return strides;
}

/// The copy with its axes in the order in which the destination lies in memory.
StridedCopy in_order(const StridedCopy& copy) {
  std::vector<std::size_t> axes(copy.shape.size());
  std::iota(axes.begin(), axes.end(), std::size_t{0});
  std::ranges::stable_sort(
      axes, [&](std::size_t a, std::size_t b) { return copy.to_strides[a] > copy.to_strides[b]; });
  StridedCopy sorted{{}, {}, {}, copy.element};
  for (const std::size_t axis : axes) {
    sorted.shape.push_back(copy.shape[axis]);
    sorted.from_strides.push_back(copy.from_strides[axis]);
    sorted.to_strides.push_back(copy.to_strides[axis]);
  }
  return sorted;
}

/// The axes of a value as they lie in memory: channels in blocks make a fifth.
Shape physical(const Value& value, Layout layout) {
  if (layout == Layout::plain) return value.shape;
  const std::int64_t block = block_size();
  return {value.shape[0], (value.shape[1] + block - 1) / block, value.shape[2], value.shape[3], block};
}

Place shifted(Place place, std::int64_t elements, std::size_t element) {
  return {place.buffer, place.offset + static_cast<std::size_t>(elements) * element};
}

void emit_copy(Builder& builder, StridedCopy copy, Place from, Place to, Layout layout) {
  builder.emit(make_copy(std::move(copy), builder.threads()), {from, to}, layout);
}

/// A copy between a step's input and its output, each as strides_to_move has it.
void emit_move(Builder& builder, const Step& step, const StridedCopy& copy) {
  const Layout from = layout_to_move(builder, step.inputs[0]), to = layout_to_move(builder, step.outputs[0]);
  emit_copy(builder, in_order(copy), builder.read(step.inputs[0], from), builder.write(step.outputs[0], to),
            to);
}

/// Of a concatenation to plain numbers, the value in blocks that `part` is, or is a view of with its pixels
/// in one row: it is made plain where the whole lies. kNone where there is none.
ValueId blocked_part(const Builder& builder, ValueId part) {
  if (builder.value(part).dtype != core::DType::f32) return kNone;
  const auto in_blocks = [&](ValueId id) {
    return builder.layout(id) == Layout::blocked && !layouts_coincide(builder.value(id));
  };
  if (in_blocks(part)) return part;
  const Shape& shape = builder.value(part).shape;
  const auto maker = std::ranges::find_if(builder.program().steps, [&](const Step& step) {
    return std::holds_alternative<program::Reshape>(step.operation) && step.outputs[0] == part;
  });
  if (maker == builder.program().steps.end() || shape.size() != 3) return kNone;
  const ValueId source = maker->inputs[0];
  if (!in_blocks(source) || builder.only_reader(source) != &*maker || builder.only_reader(part) == nullptr ||
      builder.placement().find(part).root != part) {
    return kNone;
  }
  const Shape& image = builder.value(source).shape;
  return image[0] == shape[0] && image[1] == shape[1] ? source : kNone;
}

/// Whether the value is only read by a concatenation that asks blocked_part.
bool is_made_in_whole(const Builder& builder, ValueId part) {
  const ValueId source = blocked_part(builder, part);
  if (source == kNone || source == part) return false;
  const Step& reader = *builder.only_reader(part);
  return std::holds_alternative<program::Concat>(reader.operation) &&
         builder.layout(reader.outputs[0]) == Layout::plain;
}

bool concat(Builder& builder, const Step& step, std::int64_t axis) {
  const ValueId whole = step.outputs[0];
  const Value& y = builder.value(whole);
  const Layout layout = builder.layout(whole);
  if (layout == Layout::blocked && !whole_blocks(builder.program(), step.inputs))
    return concat_channels(builder, step);
  const auto strides = strides_of(physical(y, layout));
  const std::size_t element = core::size_of(y.dtype);
  const Place to = builder.write(whole, layout);
  std::int64_t done = 0;
  bool moved = false;
  for (const ValueId part : step.inputs) {
    const Shape shape = physical(builder.value(part), layout);
    const std::int64_t at = done * strides[static_cast<std::size_t>(axis)];
    done += shape[static_cast<std::size_t>(axis)];
    if (core::element_count(shape) == 0) continue;
    const Place target = shifted(to, at, element);
    const ValueId source = layout == Layout::plain ? blocked_part(builder, part) : kNone;
    if (source != kNone && (source != part || axis <= 1)) {
      builder.emit(make_plain(builder.value(source).shape, strides[0], strides[1], builder.threads()),
                   {builder.read(source, Layout::blocked), target}, layout);
      moved = true;
      continue;
    }
    const Place from = builder.read(part, layout);
    if (from.buffer == target.buffer && from.offset == target.offset) continue;  // made here
    emit_copy(builder, {shape, strides_of(shape), strides, element}, from, target, layout);
    moved = true;
  }
  if (!moved) builder.note_view(layout);
  return true;
}

bool split(Builder& builder, const Step& step, std::int64_t axis) {
  const ValueId whole = step.inputs[0];
  const Layout layout = builder.layout(step.outputs[0]);
  if (layout == Layout::blocked && !whole_blocks(builder.program(), step.outputs))
    return split_channels(builder, step);
  const auto strides = strides_of(physical(builder.value(whole), layout));
  const std::size_t element = core::size_of(builder.value(whole).dtype);
  const Place from = builder.read(whole, layout);
  std::int64_t done = 0;
  for (const ValueId part : step.outputs) {
    if (part == kNone) return false;
    const Shape shape = physical(builder.value(part), layout);
    const std::int64_t at = done * strides[static_cast<std::size_t>(axis)];
    done += shape[static_cast<std::size_t>(axis)];
    if (core::element_count(shape) == 0) continue;
    emit_copy(builder, {shape, strides, strides_of(shape), element}, shifted(from, at, element),
              builder.write(part, layout), layout);
  }
  return true;
}

bool slice(Builder& builder, const Step& step, const program::Slice& cut) {
  const Value& x = builder.value(step.inputs[0]);
  const Value& y = builder.value(step.outputs[0]);
  auto strides = strides_of(x.shape);
  std::int64_t at = 0;
  for (std::size_t i = 0; i < strides.size(); ++i) {
    at += cut.starts[i] * strides[i];
    strides[i] *= cut.steps[i];
  }
  const std::size_t element = core::size_of(x.dtype);
  emit_copy(builder, {y.shape, strides, strides_of(y.shape), element},
            shifted(builder.read(step.inputs[0], Layout::plain), at, element),
            builder.write(step.outputs[0], Layout::plain), Layout::plain);
  return true;
}

bool transpose(Builder& builder, const Step& step, const std::vector<std::int64_t>& permutation) {
  const Value& x = builder.value(step.inputs[0]);
  const Value& y = builder.value(step.outputs[0]);
  if (builder.layout(step.outputs[0]) == Layout::blocked) {
    builder.emit(
        make_blocks_of_pixels(y.shape, builder.threads()),
        {builder.read(step.inputs[0], Layout::plain), builder.write(step.outputs[0], Layout::blocked)},
        Layout::blocked);
    return true;
  }
  static const std::vector<std::int64_t> kPixels{0, 2, 3, 1};
  if (permutation == kPixels && builder.layout(step.inputs[0]) == Layout::blocked &&
      x.dtype == core::DType::f32) {
    builder.emit(
        make_pixels_of_blocks(x.shape, builder.threads()),
        {builder.read(step.inputs[0], Layout::blocked), builder.write(step.outputs[0], Layout::plain)},
        Layout::plain);
    return true;
  }
  const auto strides = strides_to_move(builder, step.inputs[0]);
  std::vector<std::int64_t> from;
  for (const std::int64_t axis : permutation) from.push_back(strides[static_cast<std::size_t>(axis)]);
  emit_move(builder, step,
            {y.shape, from, strides_to_move(builder, step.outputs[0]), core::size_of(x.dtype)});
  return true;
}

/// Channels to pixels, or pixels to channels: `order` is that of what the channels of the deeper side count.
bool exchange(Builder& builder, const Step& step, std::int64_t block, const std::vector<std::size_t>& order,
              bool to_pixels) {
  const Value& x = builder.value(step.inputs[0]);
  const Shape& y = builder.value(step.outputs[0]).shape;
  const Shape& deep = to_pixels ? x.shape : y;
  const std::int64_t n = deep[0], c = deep[1] / (block * block), h = deep[2], w = deep[3];
  const auto of_deep = strides_to_move(builder, step.inputs[0]),
             of_wide = strides_to_move(builder, step.outputs[0]);
  const auto &deeper = to_pixels ? of_deep : of_wide, &wider = to_pixels ? of_wide : of_deep;
  const Shape parts{n, c, block, block};  // axes of `order`: images, channels, rows and columns of a block
  std::vector<std::int64_t> within(4, deeper[1]);
  for (std::size_t i = 3; i > 1; --i) within[order[i - 1]] = within[order[i]] * parts[order[i]];
  StridedCopy copy{{n, c, h, block, w, block},
                   {deeper[0], within[1], deeper[2], within[2], deeper[3], within[3]},
                   {wider[0], wider[1], wider[2] * block, wider[2], wider[3] * block, wider[3]},
                   core::size_of(x.dtype)};
  if (!to_pixels) std::swap(copy.from_strides, copy.to_strides);
  emit_move(builder, step, copy);
  return true;
}

bool expand(Builder& builder, const Step& step) {
  const Value& x = builder.value(step.inputs[0]);
  const Value& y = builder.value(step.outputs[0]);
  const auto strides = strides_of(x.shape);
  const std::size_t extra = y.shape.size() - x.shape.size();
  std::vector<std::int64_t> from(y.shape.size(), 0);
  for (std::size_t i = 0; i < strides.size(); ++i) {
    if (x.shape[i] != 1) from[i + extra] = strides[i];
  }
  emit_copy(builder, {y.shape, from, strides_of(y.shape), core::size_of(x.dtype)},
            builder.read(step.inputs[0], Layout::plain), builder.write(step.outputs[0], Layout::plain),
            Layout::plain);
  return true;
}

/// Runs of `width` floats (1, 8 or 16), one per pixel: from, to.
struct Enlarger {
  std::vector<std::int64_t> rows, columns;
  std::int64_t planes, from_rows, from_columns, width;
  int threads;

  void operator()(void* const* operands) const {
    if (width == 1) return enlarge<1>(operands);
    if (width == 8) return enlarge<8>(operands);
    return enlarge<16>(operands);
  }

 private:
  template <std::int64_t Width>
  void enlarge(void* const* operands) const {
    const auto* from = static_cast<const float*>(operands[0]);
    auto* to = static_cast<float*>(operands[1]);
    const auto to_rows = static_cast<std::int64_t>(rows.size());
    const auto line = static_cast<std::int64_t>(columns.size()) * Width;
    if (line == 0) return;
    share(planes * to_rows, std::max<std::int64_t>(1, 8192 / line), threads,
          [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t r = begin; r < end; ++r) {
              const float* source =
                  from + (r / to_rows * from_rows + rows[static_cast<std::size_t>(r % to_rows)]) *
                             from_columns * Width;
              float* target = to + r * line;
              // a row that repeats the one before is copied whole
              if (r > begin && r % to_rows != 0 &&
                  rows[static_cast<std::size_t>(r % to_rows)] ==
                      rows[static_cast<std::size_t>(r % to_rows - 1)]) {
                std::memcpy(target, target - line, static_cast<std::size_t>(line) * sizeof(float));
                continue;
              }
              for (const std::int64_t column : columns) {
                std::memcpy(target, source + column * Width, Width * sizeof(float));
                target += Width;
              }
            }
          });
  }
};

}  // namespace

bool build_resize(Builder& builder, const Step& step) {
  if (!is_nearest_image_resize(builder.program(), step)) return false;
  const auto& resize = std::get<program::Resize>(step.operation);
  const ValueId x = step.inputs[0];
  const ValueId y = step.outputs[0];
  const Layout layout = builder.layout(y);
  const Shape from = physical(builder.value(x), layout);
  const Shape &from_shape = builder.value(x).shape, &to_shape = builder.value(y).shape;
  builder.emit(make_native("nearest", 2,
                           Enlarger{program::nearest_places(resize, from_shape, to_shape, 2),
                                    program::nearest_places(resize, from_shape, to_shape, 3),
                                    from[0] * from[1], from[2], from[3],
                                    layout == Layout::blocked ? block_size() : 1, builder.threads()}),
               {builder.read(x, layout), builder.write(y, layout)}, layout);
  return true;
}

bool build_movement(Builder& builder, const Step& step) {
  const auto& operation = step.operation;
  if (step.outputs.empty() || step.outputs[0] == kNone) return false;
  if (const auto* o = std::get_if<program::Concat>(&operation)) return concat(builder, step, o->axis);
  if (const auto* o = std::get_if<program::Split>(&operation)) return split(builder, step, o->axis);
  if (core::element_count(builder.value(step.outputs[0]).shape) == 0) return false;
  if (const auto* o = std::get_if<program::Slice>(&operation)) return slice(builder, step, *o);
  if (const auto* o = std::get_if<program::Transpose>(&operation))
    return transpose(builder, step, o->permutation);
  if (const auto* o = std::get_if<program::DepthToSpace>(&operation)) {
    static const std::vector<std::size_t> kDepthFirst{0, 1, 2, 3}, kBlockFirst{0, 2, 3, 1};
    return exchange(builder, step, o->block, o->column_row_depth ? kDepthFirst : kBlockFirst, true);
  }
  if (const auto* o = std::get_if<program::SpaceToDepth>(&operation))
    return exchange(builder, step, o->block, {0, 2, 3, 1}, false);
  if (std::holds_alternative<program::Expand>(operation)) return expand(builder, step);
  if (std::holds_alternative<program::Reshape>(operation)) {
    const Value& x = builder.value(step.inputs[0]);
    if (is_made_in_whole(builder, step.outputs[0])) {
      builder.note_view(Layout::plain);
      return true;
    }
    const Layout layout = is_int8(x) ? Layout::plain : builder.layout(step.inputs[0]);
    const bool same = layout == Layout::plain || layouts_coincide(x);
    builder.emit(same ? make_memcpy(bytes_in(x, Layout::plain)) : make_plain(x.shape, builder.threads()),
                 {builder.read(step.inputs[0], layout), builder.write(step.outputs[0], Layout::plain)},
                 Layout::plain);
    return true;
  }
  return false;
}

}  // namespace rdquant::runtime::native
