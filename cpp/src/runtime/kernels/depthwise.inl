// Depthwise convolution: one vector is one block of channels of one pixel. Included inside an unnamed
// namespace.
#include "finish.inl"
#include "tables.hpp"
#include "tiles.inl"

namespace rdquant::runtime::kernels {
namespace {

// P output pixels of one row from x0 on. K > 0: K columns, stride S, no dilation, known to the compiler; 0:
// any.
template <int K, int S, int P>
void depthwise_tile(const ConvPlan& plan, const Finish& finish, const float* src, const float* weights,
                    Vec bias, float* dst, const float* residual, Index y, Index x0, Index skip, Index block) {
  const ConvShape& s = plan.shape;
  Vec sums[P][1];
  for_each<P>([&](auto p) __attribute__((always_inline)) { sums[p][0] = bias; });
  const Index left = x0 * s.sw - s.left;  // column of the image under the first tap
  const bool inside = left >= 0 && left + (P - 1) * s.sw + (s.kw - 1) * s.dw < s.w;
  for (Index ky = 0; ky < s.kh; ++ky) {
    const Index row = y * s.sh - s.top + ky * s.dh;
    if (row < 0 || row >= s.h) continue;
    const float* const in = src + (row * s.w + left) * kBlock;
    const float* const w = weights + ky * s.kw * kBlock;
    if constexpr (K > 0) {
      const auto columns = [&](auto guarded) __attribute__((always_inline)) {
        Vec taps[K];
        for_each<K>([&](auto i) __attribute__((always_inline)) { taps[i] = load(w + i * kBlock); });
        for_each<(P - 1) * S + K>([&](auto column) __attribute__((always_inline)) {
          if (decltype(guarded)::value && (left + column < 0 || left + column >= s.w)) return;
          const Vec x = load(in + column * kBlock);
          for_each<K>([&](auto i) __attribute__((always_inline)) {
            constexpr int kOffset = decltype(column)::value - decltype(i)::value;
            if constexpr (kOffset >= 0 && kOffset % S == 0 && kOffset / S < P) {
              sums[kOffset / S][0] = fma(x, taps[i], sums[kOffset / S][0]);
            }
          });
        });
      };
      if (inside) {
        columns(std::false_type{});
      } else {
        columns(std::true_type{});
      }
    } else {
      for (Index kx = 0; kx < s.kw; ++kx) {
        const Vec tap = load(w + kx * kBlock);
        for_each<P>([&](auto p) __attribute__((always_inline)) {
          const Index column = kx * s.dw + p * s.sw;
          if (!inside && (left + column < 0 || left + column >= s.w)) return;
          sums[p][0] = fma(load(in + column * kBlock), tap, sums[p][0]);
        });
      }
    }
  }
  finish_tile<P, 1>(finish, sums, dst, residual, skip, block);
}

using DepthwiseTile = void (*)(const ConvPlan&, const Finish&, const float*, const float*, Vec, float*,
                               const float*, Index, Index, Index, Index);

using DepthwisePixels = Pixels<8, 7, 4, 1>;

template <int K, int S>
DepthwiseTile choose_depthwise(Index pixels) {
  return pick_tile(
      pixels, [](auto p) -> DepthwiseTile { return depthwise_tile<K, S, decltype(p)::value>; },
      DepthwisePixels{});
}

inline DepthwiseTile depthwise_tile_for(const ConvPlan& plan) {
  const ConvShape& s = plan.shape;
  if (s.dw == 1) {
    if (s.kw == 3 && s.sw == 1) return choose_depthwise<3, 1>(plan.pixels);
    if (s.kw == 3 && s.sw == 2) return choose_depthwise<3, 2>(plan.pixels);
    if (s.kw == 5 && s.sw == 1) return choose_depthwise<5, 1>(plan.pixels);
    if (s.kw == 5 && s.sw == 2) return choose_depthwise<5, 2>(plan.pixels);
  }
  return choose_depthwise<0, 0>(plan.pixels);
}

ConvPlan plan_depthwise(const ConvShape& s) {
  ConvPlan plan;
  plan.shape = s;
  plan.method = ConvMethod::depthwise;
  plan.block = kBlock;
  if (s.groups != s.c || s.k != s.c) throw core::Unsupported("depthwise: needs c = k = groups");
  const Index blocks = divide(s.c, kBlock);
  plan.pixels = choose_pixels(s.ow(), DepthwisePixels{});
  plan.tiles = divide(s.ow(), plan.pixels);
  plan.groups = blocks;
  plan.items = s.n * blocks * s.oh();
  plan.pack_items = blocks;
  plan.weights = blocks * s.kh * s.kw * kBlock;
  return plan;
}

// Packed: [channel block][kh][kw][B].
void pack_depthwise(const ConvPlan& plan, const float* weights, float* packed, Index begin, Index end) {
  const Index taps = plan.shape.kh * plan.shape.kw;
  for (Index block = begin; block < end; ++block) {
    for (Index tap = 0; tap < taps; ++tap) {
      for (Index lane = 0; lane < kBlock; ++lane) {
        const Index channel = block * kBlock + lane;
        packed[(block * taps + tap) * kBlock + lane] =
            channel < plan.shape.c ? weights[channel * taps + tap] : 0.0f;
      }
    }
  }
}

// Items: image, channel block, row.
void run_depthwise(const ConvPlan& plan, const ConvArgs& args, Index begin, Index end) {
  const ConvShape& s = plan.shape;
  const Finish finish = make_finish(s, args);
  const DepthwiseTile tile = depthwise_tile_for(plan);
  const Index oh = s.oh();
  const Index ow = s.ow();
  for (Index item = begin; item < end; ++item) {
    const Index y = item % oh;
    const Index block = item / oh % plan.groups;
    const Index image = item / oh / plan.groups;
    const float* const src = args.src + image * args.src_image + block * s.h * s.w * kBlock;
    const float* const weights = args.weights + block * s.kh * s.kw * kBlock;
    const Vec bias = args.bias == nullptr ? splat(0.0f) : load(args.bias + block * kBlock);
    for (Index t = 0; t < plan.tiles; ++t) {
      const Index last = ow - plan.pixels;
      const Index x = t * plan.pixels < last ? t * plan.pixels : last;
      const Index at = block * finish.plane + (y * ow + x) * kBlock;
      tile(plan, finish, src, weights, bias, args.dst + image * args.dst_image + at,
           args.residual == nullptr ? nullptr : args.residual + image * args.residual_image + at, y, x,
           t * plan.pixels - x, block);
    }
  }
}

}  // namespace

namespace RDQUANT_KERNELS_ISA {
const ConvolutionTable depthwise = {plan_depthwise, pack_depthwise, run_depthwise};
}
}  // namespace rdquant::runtime::kernels
