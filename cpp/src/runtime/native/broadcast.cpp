#include "runtime/native/broadcast.hpp"

namespace rdquant::runtime::native {

std::vector<WalkedAxis> walked_axes(const core::Shape& result,
                                    const std::vector<const core::Shape*>& operands) {
  std::vector<WalkedAxis> all(result.size());
  for (std::size_t i = 0; i < result.size(); ++i) all[i].count = result[i];
  for (std::size_t o = 0; o < operands.size(); ++o) {
    const core::Shape& shape = *operands[o];
    const std::size_t missing = result.size() - shape.size();
    std::int64_t step = 1;
    for (std::size_t i = shape.size(); i-- > 0; step *= shape[i])
      all[missing + i].step[o] = shape[i] == 1 ? 0 : step;
  }
  std::vector<WalkedAxis> axes;
  for (const WalkedAxis& next : all) {
    if (next.count == 1) continue;
    const auto even = [&](std::size_t o) { return axes.back().step[o] == next.step[o] * next.count; };
    if (!axes.empty() && even(0) && even(1) && even(2)) {
      axes.back() = {axes.back().count * next.count, next.step};
    } else {
      axes.push_back(next);
    }
  }
  if (axes.empty()) axes.emplace_back();
  return axes;
}

std::array<std::int64_t, 3> places_at(const std::vector<WalkedAxis>& axes, std::size_t count,
                                      std::int64_t entry) {
  std::array<std::int64_t, 3> places{};
  for (std::size_t i = count; i-- > 0; entry /= axes[i].count) {
    for (std::size_t o = 0; o < places.size(); ++o) places[o] += entry % axes[i].count * axes[i].step[o];
  }
  return places;
}

}  // namespace rdquant::runtime::native
