// Convolution by Winograd behind winograd.hpp. Included by one file per instruction set, which sets
// RDQUANT_KERNELS_ISA.
//
// An item takes some tiles (in groups of P) through input transform, products and output transform in
// scratch memory that stays in the second cache:
//   V [group][channel block][position][P][B], strip [column][m + 2][B],
//   M [group][block of filters, of kFilterBlocks][position][P][B].
#include "runtime/kernels/float32/epilogue.inl"
#include "runtime/kernels/float32/winograd/product.inl"
#include "runtime/kernels/float32/winograd/tables.hpp"
#include "runtime/kernels/float32/winograd/transforms.inl"

namespace rdquant::runtime::kernels {
namespace {

// Tiles side by side in one row of tiles; `first` counts from the item's first tile.
struct Run {
  Index image, y, x, first, count;
};

// Calls body(run) for runs of at most kStripTiles that make up tiles [begin, end).
template <class Body>
[[gnu::always_inline]] inline void for_runs(const WinogradPlan& plan, Index begin, Index end, Body body) {
  for (Index at = begin; at < end;) {
    const Index row = at / plan.tiles_x;
    Run run = {row / plan.tiles_y, row % plan.tiles_y, at % plan.tiles_x, at - begin, kStripTiles};
    if (run.count > plan.tiles_x - run.x) run.count = plan.tiles_x - run.x;
    if (run.count > end - at) run.count = end - at;
    body(run);
    at += run.count;
  }
}

// The vertical transform of the columns that a run's tiles need. src: one channel block of the image.
template <int M>
void transform_columns(const WinogradPlan& plan, const Run& run, const float* src, float* strip) {
  constexpr int kPoints = Minimal<M>::kPoints;
  alignas(64) static constexpr float kNothing[kBlock] = {};
  const ConvShape& s = plan.shape;
  const float* rows[kPoints];
  Index step[kPoints];
  for (int i = 0; i < kPoints; ++i) {
    const Index y = run.y * M - s.top + i;
    const bool inside = y >= 0 && y < s.h;
    rows[i] = inside ? src + y * s.w * kBlock : kNothing;
    step[i] = inside ? kBlock : 0;
  }
  const Index left = run.x * M - s.left;
  for (Index column = 0; column < run.count * M + 2; ++column, strip += kPoints * kBlock) {
    const Index x = left + column;
    F32 in[kPoints], out[kPoints];
    const bool inside = x >= 0 && x < s.w;
    for_each<kPoints>([&](auto i) __attribute__((always_inline)) {
      in[i] = inside ? load(rows[i] + x * step[i]) : splat(0.0f);
    });
    Minimal<M>::input(in, out);
    for_each<kPoints>([&](auto i) __attribute__((always_inline)) { store(strip + i * kBlock, out[i]); });
  }
}

// The horizontal transform of one tile, to v at positions `stride` floats apart.
template <int M>
[[gnu::always_inline]] inline void transform_rows(const float* strip, float* v, Index stride) {
  constexpr int kPoints = Minimal<M>::kPoints;
  for (Index i = 0; i < kPoints; ++i, strip += kBlock, v += kPoints * stride) {
    F32 in[kPoints], out[kPoints];
    for_each<kPoints>([&](auto j)
                          __attribute__((always_inline)) { in[j] = load(strip + j * kPoints * kBlock); });
    Minimal<M>::input(in, out);
    for_each<kPoints>([&](auto j) __attribute__((always_inline)) { store(v + j * stride, out[j]); });
  }
}

template <int M>
void transform_input(const WinogradPlan& plan, const ConvArgs& args, Index begin, Index end, float* v,
                     float* strip) {
  constexpr int kPoints = Minimal<M>::kPoints;
  const ConvShape& s = plan.shape;
  const Index blocks = divide(s.c, kBlock);
  const Index stride = plan.group * kBlock;
  const Index plane = kPoints * kPoints * stride;
  for_runs(plan, begin, end, [&](const Run& run) {
    for (Index block = 0; block < blocks; ++block) {
      transform_columns<M>(plan, run, args.src + run.image * args.src_image + block * s.h * s.w * kBlock,
                           strip);
      for (Index t = 0; t < run.count; ++t) {
        const Index at = run.first + t;
        transform_rows<M>(strip + t * M * kPoints * kBlock,
                          v + (at / plan.group * blocks + block) * plane + at % plan.group * kBlock, stride);
      }
    }
  });
}

// One tile of sums to `rows` × `columns` outputs. m: positions `stride` floats apart.
template <int M, bool kWhole>
[[gnu::always_inline]] inline void output_tile(const Epilogue& epilogue, const float* m, Index stride,
                                               F32 bias, float* dst, const float* residual, Index width,
                                               Index rows, Index columns) {
  constexpr int kPoints = Minimal<M>::kPoints;
  const F32 low = splat(epilogue.low);
  const F32 high = splat(epilogue.high);
  F32 half[M][kPoints];
  for_each<kPoints>([&](auto j) __attribute__((always_inline)) {
    F32 in[kPoints], out[M];
    for_each<kPoints>([&](auto i)
                          __attribute__((always_inline)) { in[i] = load(m + (i * kPoints + j) * stride); });
    Minimal<M>::output(in, out);
    for_each<M>([&](auto i) __attribute__((always_inline)) { half[i][j] = out[i]; });
  });
  for_each<M>([&](auto i) __attribute__((always_inline)) {
    if (!kWhole && i >= rows) return;
    F32 out[M];
    Minimal<M>::output(half[i], out);
    for_each<M>([&](auto j) __attribute__((always_inline)) {
      if (!kWhole && j >= columns) return;
      const Index at = (i * width + j) * kBlock;
      F32 x = out[j] + bias;
      if (epilogue.add_first) x = x + load(residual + at);
      store(dst + at, clamp(x, low, high));
    });
  });
}

// Output transform, bias, residual and activation for channel block `block` of tiles [begin, end). m: that
// block's sums in the first group, groups `next` floats apart.
template <int M>
void transform_output(const WinogradPlan& plan, const ConvArgs& args, const Epilogue& epilogue, Index begin,
                      Index end, const float* m, Index next, Index block) {
  const Index stride = plan.group * kBlock;
  const Index oh = plan.shape.oh();
  const Index ow = plan.shape.ow();
  const F32 bias = args.bias == nullptr ? splat(0.0f) : load(args.bias + block * kBlock);
  for_runs(plan, begin, end, [&](const Run& run) {
    const Index corner = block * epilogue.plane + (run.y * ow + run.x) * M * kBlock;
    float* const dst = args.dst + run.image * args.dst_image + corner;
    const float* const residual =
        args.residual == nullptr ? nullptr : args.residual + run.image * args.residual_image + corner;
    const Index rows = M < oh - run.y * M ? M : oh - run.y * M;
    for (Index t = 0; t < run.count; ++t) {
      const Index at = run.first + t;
      const float* const tile = m + at / plan.group * next + at % plan.group * kBlock;
      const Index skip = t * M * kBlock;
      const float* const add = epilogue.add_first ? residual + skip : nullptr;
      const Index columns = ow - (run.x + t) * M;
      if (rows == M && columns >= M) {
        output_tile<M, true>(epilogue, tile, stride, bias, dst + skip, add, ow, M, M);
      } else {
        output_tile<M, false>(epilogue, tile, stride, bias, dst + skip, add, ow, rows, columns);
      }
    }
    if (!epilogue.heavy && !epilogue.zero_pad && !epilogue.add_last) return;
    const Index pixels = run.count * M < ow - run.x * M ? run.count * M : ow - run.x * M;
    for (Index i = 0; i < rows; ++i) {
      const Index skip = i * ow * kBlock;
      second_pass(epilogue, dst + skip, epilogue.add_last ? residual + skip : nullptr, pixels, block);
    }
  });
}

// Tiles [begin, end) × blocks of filters [block, block + blocks), blocks ≤ kFilterBlocks.
template <int M>
void multiply(const WinogradPlan& plan, const float* weights, const float* v, float* m, Index tiles,
              Index block, Index blocks) {
  const Index c = plan.shape.c;
  const Index positions = plan.positions();
  const Index stride = plan.group * kBlock;
  const Index plane = positions * stride;
  const float* u = weights + block * kBlock * c * positions;
  const Product whole = product_for(plan.group, blocks);
  for (Index position = 0; position < positions; ++position, u += c * blocks * kBlock) {
    const float* from = v + position * stride;
    float* to = m + position * stride;
    for (Index left = tiles; left > 0; left -= plan.group) {
      const Product f = left >= plan.group ? whole : product_for(left, blocks);
      f(from, plane, u, to, plane, c);
      from += divide(c, kBlock) * plane;
      to += blocks * plane;
    }
  }
}

template <int M>
void run_tiles(const WinogradPlan& plan, const ConvArgs& args, float* scratch, Index begin, Index end) {
  const Epilogue epilogue = make_epilogue(plan.shape, args);
  const Index plane = plan.positions() * plan.group * kBlock;
  const Index blocks = divide(plan.shape.k, kBlock);
  const Index steps = divide(blocks, kFilterBlocks);
  float* const v = scratch;
  float* const m = v + plan.groups * divide(plan.shape.c, kBlock) * plane;
  float* const strip = m + plan.groups * kFilterBlocks * plane;
  const Index per_item = plan.groups * plan.group;
  const Index places = plan.items / plan.parts;
  Index transformed = -1;
  for (Index item = begin; item < end; ++item) {
    const Index first = item % places * per_item;
    const Index last = first + per_item < plan.tiles() ? first + per_item : plan.tiles();
    if (transformed != first) transform_input<M>(plan, args, first, last, v, strip);
    transformed = first;
    const Index part = item / places;
    for (Index step = part * steps / plan.parts; step < (part + 1) * steps / plan.parts; ++step) {
      const Index block = step * kFilterBlocks;
      const Index wide = kFilterBlocks < blocks - block ? kFilterBlocks : blocks - block;
      multiply<M>(plan, args.weights, v, m, last - first, block, wide);
      for (Index n = 0; n < wide; ++n)
        transform_output<M>(plan, args, epilogue, first, last, m + n * plane, wide * plane, block + n);
    }
  }
}

void run_winograd(const WinogradPlan& plan, const ConvArgs& args, float* scratch, Index begin, Index end) {
  if (plan.tile == 2) return run_tiles<2>(plan, args, scratch, begin, end);
  run_tiles<4>(plan, args, scratch, begin, end);
}

// Weights of `channels` channels of one block of filters, from [filter][channel][9] to [channel][9][B].
void lay_out(const float* weights, Index filters, Index next, Index channels, float* to) {
  for (Index i = 0; i < channels * 9; ++i) store(to + i * kBlock, splat(0.0f));
  for (Index filter = 0; filter < filters; ++filter) {
    for (Index i = 0; i < channels * 9; ++i) to[i * kBlock + filter] = weights[filter * next + i];
  }
}

// taps: [9][B]; u: positions `stride` floats apart.
template <int M>
[[gnu::always_inline]] inline void transform_filter(const float* taps, float* u, Index stride) {
  constexpr int kPoints = Minimal<M>::kPoints;
  F32 half[kPoints][3];
  for_each<3>([&](auto j) __attribute__((always_inline)) {
    const F32 in[3] = {load(taps + j * kBlock), load(taps + (3 + j) * kBlock), load(taps + (6 + j) * kBlock)};
    F32 out[kPoints];
    Minimal<M>::filter(in, out);
    for_each<kPoints>([&](auto i) __attribute__((always_inline)) { half[i][j] = out[i]; });
  });
  for_each<kPoints>([&](auto i) __attribute__((always_inline)) {
    F32 out[kPoints];
    Minimal<M>::filter(half[i], out);
    for_each<kPoints>([&](auto j)
                          __attribute__((always_inline)) { store(u + (i * kPoints + j) * stride, out[j]); });
  });
}

// Packed: [step of kFilterBlocks][position][channel][block of the step][B].
template <int M>
void pack_tiles(const WinogradPlan& plan, const float* weights, float* packed, Index begin, Index end) {
  constexpr Index kTogether = 16;
  alignas(64) float taps[kTogether * 9 * kBlock];
  const Index c = plan.shape.c;
  const Index blocks = divide(plan.shape.k, kBlock);
  for (Index block = begin; block < end; ++block) {
    const Index step = block / kFilterBlocks * kFilterBlocks;
    const Index wide = kFilterBlocks < blocks - step ? kFilterBlocks : blocks - step;
    const Index filters = kBlock < plan.shape.k - block * kBlock ? kBlock : plan.shape.k - block * kBlock;
    float* const u = packed + step * kBlock * c * plan.positions() + (block - step) * kBlock;
    for (Index first = 0; first < c; first += kTogether) {
      const Index channels = kTogether < c - first ? kTogether : c - first;
      lay_out(weights + (block * kBlock * c + first) * 9, filters, c * 9, channels, taps);
      for (Index channel = 0; channel < channels; ++channel) {
        transform_filter<M>(taps + channel * 9 * kBlock, u + (first + channel) * wide * kBlock,
                            c * wide * kBlock);
      }
    }
  }
}

void pack_winograd(const WinogradPlan& plan, const float* weights, float* packed, Index begin, Index end) {
  if (plan.tile == 2) return pack_tiles<2>(plan, weights, packed, begin, end);
  pack_tiles<4>(plan, weights, packed, begin, end);
}

}  // namespace

namespace RDQUANT_KERNELS_ISA {
const Winograd winograd = {
    .block = kBlock,
    .filter_blocks = kFilterBlocks,
    .most_tiles = {kMostTilesAlone, kMostTiles},
    .pack = pack_winograd,
    .run = run_winograd,
};
}
}  // namespace rdquant::runtime::kernels
