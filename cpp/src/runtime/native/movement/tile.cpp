// Arrays repeated along their axes.
#include <algorithm>
#include <cstddef>
#include <cstring>
#include <vector>

#include "runtime/native/loops.hpp"
#include "runtime/native/rules.hpp"

namespace rdquant::runtime::native {
namespace {

/// Parts of one axis, each of which holds those of the next one, and how often all of them follow each other.
struct TiledAxis {
  std::int64_t count, repeats;
  std::size_t from, to;  ///< bytes of a part, where it comes from and where it goes
};

/// `to` from `from`. What has been copied is repeated by copies of its own, in as few pieces as there are.
struct TileWork {
  std::vector<TiledAxis> axes;
  int threads;

  void operator()(void* const* operands) const {
    const auto* const from = static_cast<const std::byte*>(operands[0]);
    auto* const to = static_cast<std::byte*>(operands[1]);
    const TiledAxis& axis = axes.front();
    const std::size_t whole = static_cast<std::size_t>(axis.count) * axis.to;
    share(axis.count, grain(axis.to), threads,
          [&](std::int64_t begin, std::int64_t end) { parts(from, to, begin, end, 0); });
    share(axis.repeats - 1, grain(whole), threads, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i)
        std::memcpy(to + static_cast<std::size_t>(i + 1) * whole, to, whole);
    });
  }

 private:
  static std::int64_t grain(std::size_t bytes) {
    return std::max<std::int64_t>(1, 32768 / static_cast<std::int64_t>(bytes));
  }

  /// The parts [begin, end) of an axis, once.
  void parts(const std::byte* from, std::byte* to, std::int64_t begin, std::int64_t end,
             std::size_t i) const {
    const TiledAxis& axis = axes[i];
    if (i + 1 == axes.size()) {
      const std::size_t first = static_cast<std::size_t>(begin) * axis.from;
      std::memcpy(to + first, from + first, static_cast<std::size_t>(end - begin) * axis.from);
      return;
    }
    const TiledAxis& inner = axes[i + 1];
    const std::size_t whole = static_cast<std::size_t>(inner.count) * inner.to;
    for (std::int64_t part = begin; part < end; ++part) {
      std::byte* const target = to + static_cast<std::size_t>(part) * axis.to;
      parts(from + static_cast<std::size_t>(part) * axis.from, target, 0, inner.count, i + 1);
      for (std::int64_t r = 1; r < inner.repeats; ++r)
        std::memcpy(target + static_cast<std::size_t>(r) * whole, target, whole);
    }
  }
};

/// Axes that are not repeated are one with those outside of them.
std::vector<TiledAxis> tiled_axes(const core::Shape& shape, const std::vector<std::int64_t>& repeats,
                                  std::size_t element) {
  std::vector<TiledAxis> axes{{1, 1, element, element}};
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (repeats[i] == 1) {
      axes.back().count *= shape[i];
    } else {
      axes.push_back({shape[i], repeats[i], element, element});
    }
  }
  for (std::size_t i = axes.size() - 1; i-- > 0;) {
    const TiledAxis& inner = axes[i + 1];
    axes[i].from = static_cast<std::size_t>(inner.count) * inner.from;
    axes[i].to = static_cast<std::size_t>(inner.count * inner.repeats) * inner.to;
  }
  if (axes.size() > 1 && axes.front().count == 1) axes.erase(axes.begin());
  return axes;
}

}  // namespace

bool build_tile(Builder& builder, const program::Step& step) {
  const auto* tile = std::get_if<program::Tile>(&step.operation);
  if (tile == nullptr || core::element_count(builder.value(step.outputs[0]).shape) == 0) return false;
  const program::Value& x = builder.value(step.inputs[0]);
  builder.emit(
      make_native("tile", 2,
                  TileWork{tiled_axes(x.shape, tile->repeats, core::size_of(x.dtype)), builder.threads()}),
      {builder.read(step.inputs[0], Layout::plain), builder.write(step.outputs[0], Layout::plain)},
      Layout::plain);
  return true;
}

}  // namespace rdquant::runtime::native
