// Depthwise int8 convolution, one tap at a time, for what interleaved.inl does not take (kernels of very many taps,
// processors without wide shuffles); and the choice between the two. Packed: [block][kh][kw][B].
#pragma once

#include "runtime/kernels/int8/convolution/depthwise/interleaved.inl"
#if defined(__ARM_NEON)
#include "runtime/kernels/int8/convolution/depthwise/neon.inl"
#endif

namespace rdquant::runtime::kernels {
namespace {

constexpr Index kAnyPixels = 4;

inline Index depthwise_blocks(const ConvShape& s) { return divide(s.c, kBlock); }

// Sums of `pixels` pixels of a row of outputs, of one block. src: its first channel.
inline void depthwise_any_sums(const ConvShape& s, const Int8ConvArgs& args, const std::uint8_t* src,
                               const std::int8_t* weights, Index y, Index x, Index pixels,
                               I32 (&sums)[kAnyPixels]) {
  const I32 zero = splat(args.src_zero);
  const Index top = y * s.sh - s.top;
  const Span rows = taps_inside(top, s.kh, s.dh, s.h);
  for (Index ky = rows.begin; ky < rows.end; ++ky) {
    const std::uint8_t* const in = src + (top + ky * s.dh) * s.w * args.src_pixel;
    for (Index kx = 0; kx < s.kw; ++kx) {
      const I32 tap =
          load_bytes(reinterpret_cast<const std::uint8_t*>(weights) + (ky * s.kw + kx) * kBlock, true);
      for (Index p = 0; p < pixels; ++p) {
        const Index column = (x + p) * s.sw - s.left + kx * s.dw;
        if (column < 0 || column >= s.w) continue;
        sums[p] = sums[p] + (load_bytes(in + column * args.src_pixel, args.src_signed) - zero) * tap;
      }
    }
  }
}

// Items: image, block, row.
void run_depthwise_any(const Int8Plan& plan, const Int8ConvArgs& args, Index begin, Index end) {
  const ConvShape& s = plan.shape;
  const Int8EpilogueState state = make_int8_epilogue(s, args);
  const Index blocks = depthwise_blocks(s);
  const Index oh = s.oh();
  const Index ow = s.ow();
  for (Index item = begin; item < end; ++item) {
    const Index y = item % oh;
    const Index block = item / oh % blocks;
    const Index image = item / oh / blocks;
    const std::uint8_t* const src = args.src + image * args.src_image + block * kBlock;
    const auto* const weights =
        reinterpret_cast<const std::int8_t*>(args.weights) + block * s.kh * s.kw * kBlock;
    const I32 start = args.bias == nullptr ? splat(0) : load(args.bias + block * kBlock);
    for (Index x = 0; x < ow; x += kAnyPixels) {
      const Index pixels = kAnyPixels < ow - x ? kAnyPixels : ow - x;
      I32 sums[kAnyPixels] = {start, start, start, start};
      depthwise_any_sums(s, args, src, weights, y, x, pixels, sums);
      for (Index p = 0; p < pixels; ++p) {
        const I32 one[1][1] = {{sums[p]}};
        store_tile<1, 1>(state, one, {image, y * ow + x + p, 0, block});
      }
    }
  }
}

void pack_depthwise_any(const ConvShape& s, const std::int8_t* weights, std::byte* packed, Index begin,
                        Index end) {
  const Index taps = s.kh * s.kw;
  auto* const out = reinterpret_cast<std::int8_t*>(packed);
  for (Index block = begin; block < end; ++block) {
    for (Index tap = 0; tap < taps; ++tap) {
      for (Index lane = 0; lane < kBlock; ++lane) {
        const Index channel = block * kBlock + lane;
        out[(block * taps + tap) * kBlock + lane] =
            channel < s.c ? weights[channel * taps + tap] : std::int8_t{0};
      }
    }
  }
}

Int8Plan plan_depthwise(const ConvShape& s, [[maybe_unused]] Index threads) {
  Int8Plan plan;
  plan.shape = s;
  plan.depthwise = true;
  plan.groups = s.groups;
  plan.pack_items = depthwise_blocks(s);
  plan.bytes = plan.pack_items * s.kh * s.kw * kBlock;
  plan.strip = s.oh();
  plan.items = s.n * plan.pack_items * s.oh();
#if defined(__AVX2__)
  if (interleaved(s)) {
    const DepthwiseUnits units = depthwise_units(s);
    plan.pack_items = units.count();
    plan.bytes = plan.pack_items * (kUnit * 4 + unit_bytes(s));
    plan.strip = divide(s.oh(), s.n < threads ? threads : 1);
    plan.items = s.n * units.steps(s.oh(), plan.strip);
  }
#elif defined(__ARM_NEON)
  if (in_columns(s)) {
    plan.pack_items = column_units(s);
    plan.bytes = plan.pack_items * (kUnitChannels * 4 + column_weights(s));
    plan.items = s.n * s.oh() * plan.pack_items;
  }
#endif
  return plan;
}

void pack_depthwise(const Int8Plan& plan, const std::int8_t* weights, std::byte* packed, Index begin,
                    Index end) {
#if defined(__AVX2__)
  if (interleaved(plan.shape)) return pack_interleaved(plan.shape, weights, packed, begin, end);
#elif defined(__ARM_NEON)
  if (in_columns(plan.shape)) return pack_columns(plan.shape, weights, packed, begin, end);
#endif
  pack_depthwise_any(plan.shape, weights, packed, begin, end);
}

void run_depthwise(const Int8Plan& plan, const Int8ConvArgs& args, Index begin, Index end) {
#if defined(__AVX2__)
  if (interleaved(plan.shape)) return run_interleaved(plan, args, begin, end);
#elif defined(__ARM_NEON)
  if (in_columns(plan.shape)) return run_columns(plan, args, begin, end);
#endif
  run_depthwise_any(plan, args, begin, end);
}

}  // namespace
}  // namespace rdquant::runtime::kernels
