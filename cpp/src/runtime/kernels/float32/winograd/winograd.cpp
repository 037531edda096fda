#include "runtime/kernels/float32/winograd/winograd.hpp"

#include <algorithm>
#include <string>

#include "rdquant/core/error.hpp"
#include "runtime/kernels/float32/winograd/tables.hpp"
#include "simd/dispatch.hpp"

namespace rdquant::runtime::kernels {
namespace {

// Floats of scratch memory that an item should keep to, so that it shares the second cache with the weights;
// and where the weights alone (kManyWeights) fill that cache: then few items, as each reads them all.
constexpr Index kScratch = 148 * 1024;
constexpr Index kManyWeights = 448 * 1024;
constexpr Index kMoreScratch = 320 * 1024;

bool can_run(const ConvShape& s) noexcept {
  return s.kh == 3 && s.kw == 3 && s.sh == 1 && s.sw == 1 && s.dh == 1 && s.dw == 1 && s.groups == 1 &&
         std::max({s.top, s.left, s.bottom, s.right}) <= 1;
}

}  // namespace

const Winograd& winograd(core::Isa isa) {
  simd::require_available(isa);
  return simd::variant(RDQUANT_VARIANTS(winograd), isa);
}

WinogradPlan plan_winograd(const ConvShape& shape, Index tile, core::Isa isa, Index threads) {
  if (!can_run(shape) || (tile != 2 && tile != 4)) {
    throw core::Unsupported("Winograd with tiles of " + std::to_string(tile) + " asked for a kernel of " +
                            std::to_string(shape.kh) + "×" + std::to_string(shape.kw) + ", " +
                            std::to_string(shape.groups) +
                            " groups: it takes tiles of 2 or 4, kernels of 3×3 with stride and dilation 1, "
                            "1 group and paddings of at most 1");
  }
  const Winograd& kernels = winograd(isa);
  WinogradPlan plan;
  plan.shape = shape;
  plan.tile = tile;
  plan.block = kernels.block;
  plan.tiles_y = divide(shape.oh(), tile);
  plan.tiles_x = divide(shape.ow(), tile);
  const Index blocks = divide(shape.k, plan.block);
  const Index steps = divide(blocks, kernels.filter_blocks);
  const Index most = kernels.most_tiles[blocks < kernels.filter_blocks ? 0 : 1];
  const Index alone = plan.positions() * plan.block * (divide(shape.c, plan.block) + kernels.filter_blocks);
  plan.weights = plan.positions() * shape.c * blocks * plan.block;

  // Callers share the tiles, or the filters where there are few tiles: then each transforms all the input,
  // but reads its part of the weights only.
  const Index tiles = plan.tiles();
  const bool by_filters = threads > 1 && steps >= threads && tiles < 2 * threads * most;
  plan.parts = by_filters ? threads : 1;
  const Index callers = by_filters ? 1 : threads;
  const Index room = plan.weights / plan.parts > kManyWeights ? kMoreScratch : kScratch;
  const Index fit = std::max(room / alone / most, Index{1}) * most;
  const Index per_item = divide(tiles, divide(divide(tiles, fit), callers) * callers);
  plan.groups = divide(per_item, most);
  plan.group = divide(per_item, plan.groups);
  plan.items = divide(tiles, plan.groups * plan.group) * plan.parts;
  plan.scratch = plan.groups * plan.group * alone + (kStripTiles * tile + 2) * (tile + 2) * plan.block;
  return plan;
}

Index winograd_pays(const ConvShape& s) noexcept {
  constexpr Index kFirst = 4;  // fewer channels are left to ConvMethod::few_channels
  constexpr Index kWorthLarge = 300;
  constexpr Index kWorthSmall = 250;
  constexpr Index kFewWeights = 8192;
  if (!can_run(s) || s.n == 0 || s.c <= kFirst) return 0;
  // Multiplications for each pair of channel and filter. What is saved has to pay for reading more weights,
  // which small images use few times; weights that stay in the second cache cost nothing.
  const Index direct = 9 * s.n * s.oh() * s.ow();
  const Index small = 16 * s.n * divide(s.oh(), 2) * divide(s.ow(), 2);
  const Index large = 36 * s.n * divide(s.oh(), 4) * divide(s.ow(), 4);
  if (small - large >= kWorthLarge) return 4;
  return direct - small >= kWorthSmall || s.c * s.k <= kFewWeights ? 2 : 0;
}

}  // namespace rdquant::runtime::kernels
