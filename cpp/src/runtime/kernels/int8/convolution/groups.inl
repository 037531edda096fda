// Groups of an int8 convolution that are run together, and what is packed for them.
#pragma once

#include "runtime/kernels/int8/kernels.hpp"
#include "runtime/kernels/int8/vectors.inl"

namespace rdquant::runtime::kernels {
namespace {

inline bool is_depthwise(const ConvShape& s) { return s.groups > 1 && s.groups == s.c && s.k == s.c; }

inline Index common_divisor(Index a, Index b) { return b == 0 ? a : common_divisor(b, a % b); }

// So many groups together that their filters fill blocks, with weights of zero between them.
inline void set_groups(const ConvShape& s, Int8Plan& plan) {
  const Index filling = kBlock / common_divisor(s.k / s.groups, kBlock);
  const Index together = filling < s.groups ? filling : s.groups;
  plan.groups = divide(s.groups, together);
  plan.group_c = s.c / s.groups * together;
  plan.group_k = s.k / s.groups * together;
}

// Of the channels that groups run together read.
inline Index first_channel(const Int8Plan& plan, Index group) {
  const Index last = plan.shape.c - plan.group_c;
  return group * plan.group_c < last ? group * plan.group_c : last;
}

// Blocks of filters of groups run together.
inline Index blocks_of(const Int8Plan& plan, Index group) {
  const Index left = plan.shape.k - group * plan.group_k;
  return divide(left < plan.group_k ? left : plan.group_k, kBlock);
}

// Fours of channels, from the first of the groups run together.
struct SeenQuads {
  Index begin, end;
  [[nodiscard]] Index count() const { return end - begin; }
};

// Whether each lane of a block finds the channels of its filter's own group among four quads: a block of more than two groups
// then meets those of one group, spread, not those of all, broadcast.
inline bool spreads(const Int8Plan& plan) {
  const ConvShape& s = plan.shape;
  const Index c = s.c / s.groups, k = s.k / s.groups;
  const Index together = plan.group_k / k;
  return kSpreads && c % 4 == 0 && together > 2 && plan.group_k == kBlock && s.groups % together == 0 &&
         together * (c / 4) <= 4;
}

// Those that the tile sees which begins with `block` of its groups' blocks of filters: with those of its filters' own groups.
inline SeenQuads quads_seen(const Int8Plan& plan, Index group, Index block) {
  const ConvShape& s = plan.shape;
  const Index c = s.c / s.groups, k = s.k / s.groups;
  const Index start = group * plan.group_k;
  const Index all = start + plan.group_k < s.k ? start + plan.group_k : s.k;
  const Index first = start + block * kBlock;
  const Index end = first + plan.blocks * kBlock < all ? first + plan.blocks * kBlock : all;
  if (first >= end) return {0, 0};
  if (spreads(plan)) return {0, c / 4};
  const Index channel = first_channel(plan, group);
  return {(first / k * c - channel) / 4, divide(((end - 1) / k + 1) * c - channel, 4)};
}

// Bytes of `count` blocks' sums of weights; what follows is aligned.
inline Index sums_bytes(Index count) { return divide(count * kBlock * 4, 64) * 64; }

// One pixel whose window lies in the image throughout: the whole image is one row.
inline bool is_flat(const ConvShape& s) {
  return s.kh == 1 && s.kw == 1 && s.sh == 1 && s.sw == 1 && s.top == 0 && s.left == 0 && s.bottom == 0 &&
         s.right == 0;
}

// A filter's weights, by channel of its groups run together: 0 between groups, and of filters that only fill a block.
struct Filter {
  const std::int8_t* weights;
  Index first, c, taps;

  [[nodiscard]] std::int8_t at(Index channel, Index tap) const {
    const Index own = channel - first;
    return own >= 0 && own < c ? weights[own * taps + tap] : std::int8_t{0};
  }
};

// Those of a block, from `filter` on, of which those below `end` are real; `channel` is the first of its groups'.
struct FilterBlock {
  FilterBlock(const ConvShape& s, const std::int8_t* weights, Index filter, Index end, Index channel) {
    const Index c = s.c / s.groups;
    const Index taps = s.kh * s.kw;
    for (Filter& one : filters) {
      one = {weights + filter * c * taps, filter / (s.k / s.groups) * c - channel, filter < end ? c : 0,
             taps};
      ++filter;
    }
  }

  Filter filters[kBlock];
};

}  // namespace
}  // namespace rdquant::runtime::kernels
