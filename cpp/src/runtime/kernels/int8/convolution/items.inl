// The order in which the tiles of an int8 convolution are run.
#pragma once

#include "runtime/kernels/int8/kernels.hpp"

namespace rdquant::runtime::kernels {
namespace {

// One tile, and where it is in its strip: places that are run with some filters before they are with others.
struct Int8Item {
  Index image, group, filters, y, tile;
  Index first_y, first_tile, length;  // of the strip
  Index within;                       // it
};

// Items: image, group, strip, filters, place in the strip.
class Int8Items {
 public:
  Int8Items(const Int8Plan& plan, Index filters)
      : tiles_(plan.tiles),
        places_(plan.tiles * (plan.flat ? 1 : plan.shape.oh())),
        filters_(filters),
        groups_(plan.groups),
        strip_(plan.strip) {}

  [[nodiscard]] Int8Item at(Index item) const {
    const Index inner = item % (places_ * filters_);
    const Index rest = item / (places_ * filters_);
    const Index first = inner / (strip_ * filters_) * strip_;
    Int8Item it = {rest / groups_, rest % groups_, 0, first / tiles_, first % tiles_, 0, 0, 0, 0};
    begin_strip(it);
    it.filters = (inner - first * filters_) / it.length;
    it.within = (inner - first * filters_) % it.length;
    it.y = (first + it.within) / tiles_;
    it.tile = (first + it.within) % tiles_;
    return it;
  }
  // `count` places further, which are in the same row and strip.
  static void skip(Int8Item& item, Index count) {
    item.tile += count;
    item.within += count;
  }
  void next(Int8Item& item) const {
    const bool over = ++item.within == item.length;
    if (over && ++item.filters < filters_) {
      item.y = item.first_y;
      item.tile = item.first_tile;
      item.within = 0;
      return;
    }
    if (++item.tile == tiles_) {
      item.tile = 0;
      ++item.y;
    }
    if (!over) return;
    item.filters = 0;
    if (item.y * tiles_ + item.tile == places_) {
      item.y = 0;
      if (++item.group == groups_) {
        item.group = 0;
        ++item.image;
      }
    }
    begin_strip(item);
  }

 private:
  void begin_strip(Int8Item& item) const {
    item.first_y = item.y;
    item.first_tile = item.tile;
    const Index left = places_ - (item.y * tiles_ + item.tile);
    item.length = left < strip_ ? left : strip_;
    item.within = 0;
  }

  Index tiles_, places_, filters_, groups_, strip_;
};

}  // namespace
}  // namespace rdquant::runtime::kernels
