// Pads of float32 and of levels in every mode: line by line along the last axis that grows.
#include <algorithm>
#include <utility>
#include <vector>

#include "rdquant/program/evaluate.hpp"
#include "runtime/native/loops.hpp"
#include "runtime/native/predicates.hpp"
#include "runtime/native/rules.hpp"

namespace rdquant::runtime::native {
namespace {

using core::Shape;
using program::kNone;
using program::Step;
using program::Value;
using program::ValueId;

/// An axis: the offset in elements that each of its entries is taken from; −1 where it is the number given.
using Places = std::vector<std::int64_t>;

/// How an array is padded.
struct Frame {
  std::vector<Places> outer;
  Places line;                      ///< along the last axis
  std::int64_t begin = 0, end = 0;  ///< entries of a line that lie side by side where they are taken from
  std::int64_t width = 1;           ///< floats that an entry has
  bool given = false;
  int threads = 1;
};

/// Operands: to, from, the number.
template <typename T>
struct PadWork {
  Frame frame;

  void operator()(void* const* operands) const {
    auto* const to = static_cast<T*>(operands[0]);
    const auto* const from = static_cast<const T*>(operands[1]);
    const T number = frame.given ? *static_cast<const T*>(operands[2]) : T{};
    const std::int64_t length = std::ssize(frame.line) * frame.width;
    std::int64_t lines = 1;
    for (const Places& axis : frame.outer) lines *= std::ssize(axis);
    share(lines, std::max<std::int64_t>(1, 8192 / length), frame.threads,
          [&](std::int64_t first, std::int64_t last) {
            for (std::int64_t i = first; i < last; ++i) {
              const std::int64_t offset = source(i);
              if (offset < 0) {
                std::fill_n(to + i * length, length, number);
              } else {
                fill(from + offset, number, to + i * length);
              }
            }
          });
  }

 private:
  [[nodiscard]] std::int64_t source(std::int64_t index) const {
    std::int64_t offset = 0;
    for (std::size_t a = frame.outer.size(); a-- > 0;) {
      const std::int64_t size = std::ssize(frame.outer[a]);
      const std::int64_t place = frame.outer[a][static_cast<std::size_t>(index % size)];
      if (place < 0) return -1;
      offset += place;
      index /= size;
    }
    return offset;
  }

  void fill(const T* from, T number, T* to) const {
    const Places& line = frame.line;
    const std::int64_t width = frame.width, begin = frame.begin, end = frame.end;
    const auto entries = [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t i = first; i < last; ++i) {
        const std::int64_t place = line[static_cast<std::size_t>(i)];
        if (place < 0) {
          std::fill_n(to + i * width, width, number);
        } else if (width == 1) {
          to[i] = from[place];
        } else {
          std::copy_n(from + place, width, to + i * width);
        }
      }
    };
    entries(0, begin);
    if (begin < end)
      std::copy_n(from + line[static_cast<std::size_t>(begin)], (end - begin) * width, to + begin * width);
    entries(end, std::ssize(line));
  }
};

}  // namespace

bool build_pad(Builder& builder, const Step& step) {
  const auto* frame = std::get_if<program::Pad>(&step.operation);
  if (frame == nullptr || step.outputs[0] == kNone) return false;
  const Value &x = builder.value(step.inputs[0]), &y = builder.value(step.outputs[0]);
  const Layout layout = builder.layout(step.outputs[0]);
  const bool levels = is_int8(x);
  if ((x.dtype != core::DType::f32 && !levels) || layout == Layout::channels_last || x.shape.empty() ||
      core::element_count(x.shape) == 0 || core::element_count(y.shape) == 0)
    return false;
  Frame work;
  std::size_t last = x.shape.size();
  while (last > 1 && x.shape[last - 1] == y.shape[last - 1] && frame->begins[last - 1] == 0) --last;
  std::int64_t stride = 1;
  if (layout == Layout::blocked) {
    stride = block_size();
    last = std::max<std::size_t>(last, 3);  // channels do not grow, but lie in blocks
  }
  for (std::size_t a = x.shape.size(); a-- > 0;) {
    Places places = program::pad_places(*frame, x.shape, y.shape, a);
    std::int64_t size = x.shape[a];
    if (layout == Layout::blocked && a == 1) {
      size = (size + block_size() - 1) / block_size();
      places.resize(static_cast<std::size_t>(size));
    }
    if (a + 1 == last) {
      work.width = stride;
      work.begin = std::min(std::max<std::int64_t>(0, frame->begins[a]), y.shape[a]);
      work.end = std::max(work.begin, std::min(y.shape[a], frame->begins[a] + x.shape[a]));
    }
    for (std::int64_t& place : places) place = place < 0 ? -1 : place * stride;
    stride *= size;
    if (a + 1 == last) work.line = std::move(places);
    if (a + 1 < last) work.outer.insert(work.outer.begin(), std::move(places));
  }
  const ValueId fill = program::input(step, 1);
  work.given = fill != kNone;
  work.threads = builder.threads();
  std::vector<Place> operands{builder.write(step.outputs[0], layout), builder.read(step.inputs[0], layout)};
  if (work.given) operands.push_back(builder.read(fill, Layout::plain));
  const std::size_t count = operands.size();
  builder.emit(levels ? make_native("lines", count, PadWork<std::uint8_t>{std::move(work)})
                      : make_native("lines", count, PadWork<float>{std::move(work)}),
               std::move(operands), layout);
  return true;
}

}  // namespace rdquant::runtime::native
