#include <algorithm>

#include "program/lower/lowering.hpp"

namespace rdquant::program {
namespace {

/// Pads that make `ceil(size / stride)` outputs; an odd one goes to the end, or to the beginning where
/// `lower`.
void pad_same(Window& window, const core::Shape& image, bool lower) {
  for (std::size_t i = 0; i < window.kernel.size(); ++i) {
    const std::int64_t size = image[i + 2], stride = window.strides[i];
    const std::int64_t outputs = (size + stride - 1) / stride;
    const std::int64_t extent = (window.kernel[i] - 1) * window.dilations[i] + 1;
    const std::int64_t total = std::max<std::int64_t>(0, (outputs - 1) * stride + extent - size);
    const std::int64_t small = total / 2, large = total - small;
    window.pads_begin[i] = lower ? large : small;
    window.pads_end[i] = lower ? small : large;
  }
}

void check(const Lowering& node, const Window& window) {
  const auto within = [](std::int64_t pad) { return pad >= 0 && pad <= kMostWindow; };
  for (std::size_t i = 0; i < window.kernel.size(); ++i) {
    node.check(window.kernel[i] >= 1 && window.strides[i] >= 1 && window.dilations[i] >= 1,
               "kernel sizes, strides and dilations must be at least 1");
    node.check(window.kernel[i] <= kMostWindow && window.strides[i] <= kMostWindow &&
                   window.dilations[i] <= kMostWindow && within(window.pads_begin[i]) &&
                   within(window.pads_end[i]),
               "pads may be 0 to 2^30, kernel sizes, strides and dilations 2^30 at most");
  }
  node.check(core::element_count(window.kernel) <= kMostElements, "a window may have 2^40 elements at most");
}

}  // namespace

Window window_of(const Lowering& node, const core::Shape& image, const std::vector<std::int64_t>& kernel) {
  node.check(image.size() >= 3, "the input needs a batch, channels and at least one axis, it has shape " +
                                    core::shape_text(image));
  const std::size_t axes = image.size() - 2;
  Window window{kernel, node.integers("strides", core::Shape(axes, 1)),
                node.integers("dilations", core::Shape(axes, 1)), core::Shape(axes, 0), core::Shape(axes, 0)};
  const auto pads = node.integers("pads", core::Shape(2 * axes, 0));
  node.check(kernel.size() == axes && window.strides.size() == axes && window.dilations.size() == axes &&
                 pads.size() == 2 * axes,
             "kernel, strides, dilations and pads must fit " + std::to_string(axes) + " axes");
  std::copy_n(pads.begin(), axes, window.pads_begin.begin());
  std::copy_n(pads.begin() + static_cast<std::ptrdiff_t>(axes), axes, window.pads_end.begin());
  check(node, window);
  const std::string automatic = node.text("auto_pad", "NOTSET");
  if (automatic == "SAME_UPPER" || automatic == "SAME_LOWER") {
    pad_same(window, image, automatic == "SAME_LOWER");
  } else if (automatic == "VALID") {
    window.pads_begin.assign(axes, 0);
    window.pads_end.assign(axes, 0);
  } else if (automatic != "NOTSET" && !automatic.empty()) {
    node.unsupported("auto_pad '" + automatic + "'");
  }
  return window;
}

std::int64_t room_of(const core::Shape& image, const Window& window, std::size_t i) {
  const std::int64_t padded = image[i + 2] + window.pads_begin[i] + window.pads_end[i];
  return padded - (window.kernel[i] - 1) * window.dilations[i] - 1;
}

void refuse_window(const Lowering& node, const core::Shape& image, const Window& window, std::size_t i) {
  const std::int64_t extent = (window.kernel[i] - 1) * window.dilations[i] + 1;
  node.check(false, "a window over " + std::to_string(extent) + " does not fit axis " +
                        std::to_string(i + 2) + " of " + core::shape_text(image) + ", " +
                        std::to_string(room_of(image, window, i) + extent) + " with its padding");
}

core::Shape output_sizes(const Lowering& node, const core::Shape& image, const Window& window) {
  core::Shape sizes;
  for (std::size_t i = 0; i < window.kernel.size(); ++i) {
    const std::int64_t room = room_of(image, window, i);
    if (room < 0) refuse_window(node, image, window, i);
    sizes.push_back(room / window.strides[i] + 1);
  }
  return sizes;
}

}  // namespace rdquant::program
