// Maxima over plain arrays, and where each lies.
#pragma once

#include "runtime/kernels/float32/plain_pool/rows.inl"

namespace rdquant::runtime::kernels {
namespace {

constexpr std::int32_t kNowhere = 0x7fffffff;

// A running maximum and its place: of equal ones, or of those that are not a number, the one that comes first.
struct First {
  F32 most = splat(-__builtin_inff());
  I32 place = simd::splat(kNowhere);

  [[gnu::always_inline]] void see(F32 x, I32 at) {
    const I32 new_nan = ~(x == x) & (most == most), both_nan = ~((x == x) | (most == most));
    const I32 taken = (most < x) | new_nan | ((at < place) & ((x == most) | both_nan));
    most = select(taken, x, most);
    place = select(taken, at, place);
  }
};

// The greatest of each column under the window, and their places in the plane.
void first_rows(const float* plane, const Rows& rows, bool begins, float* most, std::int32_t* places,
                Index width) {
  for (Index i = 0; i < width; i += kBlock) {
    const Index n = width - i < kBlock ? width - i : kBlock;
    First first;
    if (!begins) first = {load_some(most + i, n), load_some(places + i, n)};
    for (Index r = 0; r < rows.count; ++r)
      first.see(load_some(plane + rows.starts[r] + i, n),
                count_up(static_cast<std::int32_t>(rows.starts[r] + i), 1));
    store_some(most + i, first.most, n);
    store_some(reinterpret_cast<float*>(places + i), simd::bits_as<F32>(first.place), n);
  }
}

// Places as ONNX numbers them, those of planes before included.
void store_places(const PlainPoolArgs& args, I32 found, Index plane, std::int64_t* to, Index n) {
  const I32 known = found & ~(found == simd::splat(kNowhere));
  if (n == kBlock && !args.column_major) {
    simd::store_as(to, simd::convert<std::int64_t>(known) + plane);
    return;
  }
  std::int32_t each[kBlock];
  simd::store(each, known);
  const Index high = args.axes[1].in, wide = args.axes[2].in;
  for (Index i = 0; i < n; ++i) {
    const Index x = each[i] % wide, y = each[i] / wide % high, z = each[i] / wide / high;
    to[i] = plane + (args.column_major ? (x * high + y) * args.axes[0].in + z : each[i]);
  }
}

void pool_places(const PlainPoolArgs& args, const float* src, float* dst, std::int64_t* places,
                 float* scratch, Index begin, Index end) {
  const PoolAxis& columns = args.axes[2];
  const Index padded = padded_row(columns, kBlock);
  const Index area = args.axes[0].in * args.axes[1].in * columns.in;
  auto* const row_places = reinterpret_cast<std::int32_t*>(scratch + padded);
  fill(scratch, -__builtin_inff(), padded);
  for (Index i = 0; i < padded; ++i) row_places[i] = kNowhere;
  Row at = row_of(args, begin);
  for (Index item = begin; item < end; ++item, step(args, at)) {
    const RowWindow window = row_window(args, at.z, at.y);
    const Index plane = at.plane * area;
    for_rows(args, window, [&](const Rows& some, bool begins) {
      first_rows(src + plane, some, begins, scratch + columns.before, row_places + columns.before,
                 columns.in);
    });
    for (Index x = 0; x < columns.out; x += kBlock) {
      First first;
      for (Index k = 0; k < columns.kernel; ++k) {
        const Index from = x * columns.stride + k * columns.dilation;
        first.see(load_every(scratch + from, columns.stride), load_every(row_places + from, columns.stride));
      }
      const Index n = columns.out - x < kBlock ? columns.out - x : kBlock;
      store_some(dst + item * columns.out + x, first.most, n);
      store_places(args, first.place, plane, places + item * columns.out + x, n);
    }
  }
}

}  // namespace
}  // namespace rdquant::runtime::kernels
