// Strides of views, and copies between them.
#include <algorithm>

#include "emit/network.hpp"

namespace rdquant::emit {

core::Shape dense_strides(const core::Shape& shape) {
  core::Shape strides(shape.size(), 1);
  for (std::size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * shape[i];
  return strides;
}

core::Shape channels_last(const core::Shape& shape) {
  if (shape.size() != 4) return dense_strides(shape);
  const std::int64_t c = shape[1], h = shape[2], w = shape[3];
  return {h * w * c, 1, w * c, c};
}

bool has_strides(const View& view, const core::Shape& strides) {
  for (std::size_t i = 0; i < strides.size(); ++i) {
    if (view.shape[i] != 1 && view.strides[i] != strides[i]) return false;
  }
  return true;
}

std::vector<Axis> merged(const core::Shape& shape, const core::Shape& from, const core::Shape& to) {
  std::vector<Axis> axes;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] != 1) axes.push_back({shape[i], from[i], to[i]});
  }
  std::ranges::stable_sort(axes, [](const Axis& a, const Axis& b) { return a.to > b.to; });
  std::vector<Axis> found;
  for (const Axis& axis : axes) {
    const bool joins = !found.empty() && found.back().to == axis.to * axis.size &&
                       found.back().from == axis.from * axis.size;
    if (joins) {
      found.back() = {found.back().size * axis.size, axis.from, axis.to};
    } else {
      found.push_back(axis);
    }
  }
  return found;
}

std::string path_text(const std::vector<Axis>& axes) {
  std::string sizes, from, to;
  for (std::size_t i = 0; i < 4; ++i) {
    const std::size_t missing = 4 - axes.size();
    const Axis axis = i < missing ? Axis{1, 0, 0} : axes[i - missing];
    const std::string end = i < 3 ? ", " : "";
    sizes += std::to_string(axis.size) + end;
    from += std::to_string(axis.from) + end;
    to += std::to_string(axis.to) + end;
  }
  return "{{" + sizes + "}, {" + from + "}, {" + to + "}}";
}

}  // namespace rdquant::emit
