// Windows in C, and what they read first.
#include <algorithm>
#include <limits>

#include "emit/reader.hpp"

namespace rdquant::emit {
namespace {

/// The first place inside along one axis that the window at `out` reads; `size` where none is inside.
std::int64_t first_inside(const program::Window& w, std::size_t axis, std::int64_t out, std::int64_t size) {
  std::int64_t place = out * w.strides[axis] - w.pads_begin[axis];
  const std::int64_t step = w.dilations[axis], end = place + (w.kernel[axis] - 1) * step;
  if (place < 0) place += (-place + step - 1) / step * step;
  return place <= end && place < size ? place : size;
}

}  // namespace

std::string window_text(const program::Step& step, const program::Window& w, const View& x, const View& y,
                        std::int64_t groups, std::int32_t x_zero) {
  const std::vector<std::int64_t> numbers = {x.shape[2],      x.shape[3],      x.shape[1],     y.shape[2],
                                             y.shape[3],      y.shape[1],      w.kernel[0],    w.kernel[1],
                                             w.strides[0],    w.strides[1],    w.dilations[0], w.dilations[1],
                                             w.pads_begin[0], w.pads_begin[1], x_zero,         groups};
  std::string text;
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    const std::int64_t most = i >= 12 && i < 15 ? std::numeric_limits<std::int16_t>::max()
                                                : std::numeric_limits<std::uint16_t>::max();
    if (numbers[i] > most)
      Reader::refuse(step, "a size of " + std::to_string(numbers[i]) + " is beyond 16 bits");
    text += (i == 0 ? "{" : ", ") + std::to_string(numbers[i]);
  }
  return text + "}";
}

std::int64_t window_distance(const program::Window& window, const core::Shape& x, const core::Shape& y,
                             std::int64_t together, Reads reads) {
  const std::int64_t pixels = y[2] * y[3], all = x[1] * x[2] * x[3];
  std::int64_t needed = std::numeric_limits<std::int64_t>::max() / 2,
               distance = std::numeric_limits<std::int64_t>::min() / 2;
  // From the last pixels to the first: what those that follow read first.
  for (std::int64_t begin = (pixels - 1) / together * together; begin >= 0; begin -= together) {
    std::int64_t first = all;
    const std::int64_t end = std::min(begin + together, pixels);
    for (std::int64_t p = begin; p < end; ++p) {
      const std::int64_t row = first_inside(window, 0, p / y[3], x[2]),
                         column = first_inside(window, 1, p % y[3], x[3]);
      if (row < x[2] && column < x[3]) first = std::min(first, (row * x[3] + column) * x[1]);
    }
    if (reads == Reads::between) needed = std::min(needed, first);
    distance = std::max(distance, end * y[1] - needed);
    needed = std::min(needed, first);
    // Channel c lies as far behind the pixel's first one on both sides.
    if (reads == Reads::by_channel) distance = std::max(distance, begin * y[1] - needed);
  }
  return distance;
}

}  // namespace rdquant::emit
