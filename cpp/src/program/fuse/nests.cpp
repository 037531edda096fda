// Concatenations that begin, end or go on with what another one has joined already, as in dense blocks.
#include <algorithm>
#include <utility>
#include <vector>

#include "program/fuse/fuse.hpp"

namespace rdquant::program {
namespace {

/// A concatenation that has come by.
struct Joined {
  ValueId whole;
  std::int64_t axis;
  std::vector<ValueId> parts;  // as they were at first
};

/// Where in `parts` those of `inner` stand side by side; the end where they do not, or are all.
auto found_in(std::vector<ValueId>& parts, const Joined& inner) {
  if (inner.parts.size() < 2 || inner.parts.size() >= parts.size()) return parts.end();
  return std::search(parts.begin(), parts.end(), inner.parts.begin(), inner.parts.end());
}

}  // namespace

void nest_concats(Program& program) {
  std::vector<Joined> joined;
  for (Step& step : program.steps) {
    const auto* concat = std::get_if<Concat>(&step.operation);
    if (concat == nullptr) continue;
    Joined now{step.outputs[0], concat->axis, step.inputs};
    const Joined* longest = nullptr;
    for (const Joined& inner : joined) {
      const bool longer = longest == nullptr || inner.parts.size() > longest->parts.size();
      if (longer && inner.axis == now.axis && found_in(step.inputs, inner) != step.inputs.end())
        longest = &inner;
    }
    if (longest != nullptr) {
      const auto first = found_in(step.inputs, *longest);
      *first = longest->whole;
      step.inputs.erase(first + 1, first + static_cast<std::ptrdiff_t>(longest->parts.size()));
    }
    joined.push_back(std::move(now));
  }
}

}  // namespace rdquant::program
