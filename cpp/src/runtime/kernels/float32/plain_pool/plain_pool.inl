// Windows over plain arrays: the rows under a window are brought into one, then its columns. Included by one file per
// instruction set, which sets RDQUANT_KERNELS_ISA.
#include "runtime/kernels/float32/math.inl"
#include "runtime/kernels/float32/plain_pool/tables.hpp"
#include "simd/gather.inl"

namespace rdquant::runtime::kernels {
namespace {

constexpr std::int32_t kNowhere = 0x7fffffff;

inline I32 count_up(std::int32_t first, std::int32_t step) {
  constexpr std::int32_t kCount[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return load(kCount) * step + first;
}

// Elements 0, stride, 2·stride, … of p; of stride 2 those that follow the last are read, too.
template <class T>
[[gnu::always_inline]] inline simd::Vector<T, simd::kLanes> load_every(const T* p, Index stride) {
  using V = simd::Vector<T, simd::kLanes>;
  if (stride == 1) return load(p);
  if constexpr (kBlock == 16) {
    if (stride == 2) return simd::lookup(load(p), load(p + kBlock), count_up(0, 2));
  }
  return simd::bits_as<V>(simd::Gather(false, kBlock)(p, count_up(0, static_cast<std::int32_t>(stride))));
}

template <Pooled F>
constexpr float kNothing = F == Pooled::max ? -__builtin_inff() : 0.0f;

template <Pooled F>
[[gnu::always_inline]] inline F32 see(F32 so_far, F32 x) {
  if constexpr (F == Pooled::max) return simd::max_or_nan(so_far, x);
  if constexpr (F == Pooled::l1) return so_far + simd::abs(x);
  if constexpr (F == Pooled::l2) return fma(x, x, so_far);
  return so_far + x;
}

// What the columns of a window make of what its rows have made.
template <Pooled F>
[[gnu::always_inline]] inline F32 join(F32 so_far, F32 x) {
  return see<F == Pooled::max ? Pooled::max : Pooled::average>(so_far, x);
}

// The window of one row of results: its taps, and where the first of them would lie.
struct RowWindow {
  Span deep, high;
  Index front, top;
  float counted;  // elements of a column that count in the divisor
};

Index counted_taps(const PoolAxis& axis, Index start, const Span& inside, bool count_pad) {
  if (!count_pad) return inside.end - inside.begin;
  const Span padded =
      taps_inside(start + axis.before, axis.kernel, axis.dilation, axis.before + axis.in + axis.counted);
  return padded.end - padded.begin;
}

RowWindow row_window(const PlainPoolArgs& args, Index z, Index y) {
  const PoolAxis &depth = args.axes[0], &rows = args.axes[1];
  const Index front = z * depth.stride - depth.before, top = y * rows.stride - rows.before;
  const Span deep = taps_inside(front, depth.kernel, depth.dilation, depth.in);
  const Span high = taps_inside(top, rows.kernel, rows.dilation, rows.in);
  return {deep, high, front, top,
          static_cast<float>(counted_taps(depth, front, deep, args.count_pad) *
                             counted_taps(rows, top, high, args.count_pad))};
}

// body(place of a row's first element in its plane) for each row under the window.
template <class Body>
[[gnu::always_inline]] inline void for_rows(const PlainPoolArgs& args, const RowWindow& window, Body body) {
  const PoolAxis &depth = args.axes[0], &rows = args.axes[1];
  for (Index kz = window.deep.begin; kz < window.deep.end; ++kz) {
    const Index plane = (window.front + kz * depth.dilation) * rows.in;
    for (Index ky = window.high.begin; ky < window.high.end; ++ky)
      body((plane + window.top + ky * rows.dilation) * args.axes[2].in);
  }
}

// Where no window reaches past one column.
bool keeps_columns(const PoolAxis& columns) {
  return columns.kernel == 1 && columns.stride == 1 && columns.before == 0 && columns.out == columns.in;
}

void fill(float* p, float value, Index n) {
  for (Index i = 0; i < n; ++i) p[i] = value;
}

// How many elements of a row each window counts, at least one.
void count_columns(const PlainPoolArgs& args, float* counts) {
  const PoolAxis& columns = args.axes[2];
  for (Index x = 0; x < divide(columns.out, kBlock) * kBlock; ++x) {
    const Index start = x * columns.stride - columns.before;
    const Span inside = taps_inside(start, columns.kernel, columns.dilation, columns.in);
    const Index count = x < columns.out ? counted_taps(columns, start, inside, args.count_pad) : 1;
    counts[x] = static_cast<float>(count > 0 ? count : 1);
  }
}

// Sums that nothing counted to are zero.
template <Pooled F>
[[gnu::always_inline]] inline F32 finish(F32 sum, float counted, const float* counts) {
  if constexpr (F == Pooled::average) return sum / (splat(counted > 0 ? counted : 1.0f) * load(counts));
  if constexpr (F == Pooled::l2) return simd::sqrt(sum);
  return sum;
}

template <Pooled F, class Finish>
[[gnu::always_inline]] inline void join_rows(const PlainPoolArgs& args, const RowWindow& window,
                                             const float* plane, float* to, Finish finished) {
  const Index width = args.axes[2].in;
  for (Index i = 0; i < width; i += kBlock) {
    F32 all = splat(kNothing<F>);
    const Index n = width - i;
    if (n >= kBlock) {
      for_rows(args, window, [&](Index row) { all = see<F>(all, load(plane + row + i)); });
      store(to + i, finished(all, i));
    } else {
      for_rows(args, window, [&](Index row) { all = see<F>(all, load_some(plane + row + i, n)); });
      store_some(to + i, finished(all, i), n);
    }
  }
}

template <Pooled F>
void pool_rows(const PlainPoolArgs& args, const float* src, float* dst, float* scratch, Index begin,
               Index end) {
  const PoolAxis &depth = args.axes[0], &rows = args.axes[1], &columns = args.axes[2];
  float* const counts = scratch + padded_row(columns, kBlock);
  fill(scratch, kNothing<F>, padded_row(columns, kBlock));
  if constexpr (F == Pooled::average) count_columns(args, counts);
  for (Index item = begin; item < end; ++item) {
    const RowWindow window = row_window(args, item / rows.out % depth.out, item % rows.out);
    const float* const plane = src + item / rows.out / depth.out * depth.in * rows.in * columns.in;
    float* const to = dst + item * columns.out;
    if (keeps_columns(columns)) {
      join_rows<F>(args, window, plane, to,
                   [&](F32 x, Index i) { return finish<F>(x, window.counted, counts + i); });
      continue;
    }
    join_rows<F>(args, window, plane, scratch + columns.before, [](F32 x, Index) { return x; });
    for (Index x = 0; x < columns.out; x += kBlock) {
      F32 all = splat(kNothing<F>);
      for (Index k = 0; k < columns.kernel; ++k)
        all = join<F>(all, load_every(scratch + x * columns.stride + k * columns.dilation, columns.stride));
      const Index n = columns.out - x;
      store_some(to + x, finish<F>(all, window.counted, counts + x), n < kBlock ? n : kBlock);
    }
  }
}

void pool_plain(const PlainPoolArgs& args, const float* src, float* dst, float* scratch, Index begin,
                Index end) {
  switch (args.function) {
    case Pooled::max:
      return pool_rows<Pooled::max>(args, src, dst, scratch, begin, end);
    case Pooled::average:
      return pool_rows<Pooled::average>(args, src, dst, scratch, begin, end);
    case Pooled::l1:
      return pool_rows<Pooled::l1>(args, src, dst, scratch, begin, end);
    default:
      return pool_rows<Pooled::l2>(args, src, dst, scratch, begin, end);
  }
}

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
void first_rows(const PlainPoolArgs& args, const RowWindow& window, const float* plane, float* most,
                std::int32_t* places) {
  const Index width = args.axes[2].in;
  for (Index i = 0; i < width; i += kBlock) {
    const Index n = width - i < kBlock ? width - i : kBlock;
    First first;
    for_rows(args, window, [&](Index row) {
      first.see(load_some(plane + row + i, n), count_up(static_cast<std::int32_t>(row + i), 1));
    });
    store_some(most + i, first.most, n);
    store_some(reinterpret_cast<float*>(places + i), simd::bits_as<F32>(first.place), n);
  }
}

// A place as ONNX numbers it.
std::int64_t place_of(const PlainPoolArgs& args, std::int32_t place) {
  if (place == kNowhere) return 0;
  if (!args.column_major) return place;
  const Index high = args.axes[1].in, wide = args.axes[2].in;
  const Index x = place % wide, y = place / wide % high, z = place / wide / high;
  return (x * high + y) * args.axes[0].in + z;
}

void pool_places(const PlainPoolArgs& args, const float* src, float* dst, std::int64_t* places,
                 float* scratch, Index begin, Index end) {
  const PoolAxis &depth = args.axes[0], &rows = args.axes[1], &columns = args.axes[2];
  const Index padded = padded_row(columns, kBlock);
  const Index area = depth.in * rows.in * columns.in;
  auto* const row_places = reinterpret_cast<std::int32_t*>(scratch + padded);
  fill(scratch, -__builtin_inff(), padded);
  for (Index i = 0; i < padded; ++i) row_places[i] = kNowhere;
  for (Index item = begin; item < end; ++item) {
    const RowWindow window = row_window(args, item / rows.out % depth.out, item % rows.out);
    const Index plane = item / rows.out / depth.out * area;
    first_rows(args, window, src + plane, scratch + columns.before, row_places + columns.before);
    for (Index x = 0; x < columns.out; x += kBlock) {
      First first;
      for (Index k = 0; k < columns.kernel; ++k) {
        const Index from = x * columns.stride + k * columns.dilation;
        first.see(load_every(scratch + from, columns.stride), load_every(row_places + from, columns.stride));
      }
      const Index n = columns.out - x < kBlock ? columns.out - x : kBlock;
      store_some(dst + item * columns.out + x, first.most, n);
      std::int32_t found[kBlock];
      simd::store(found, first.place);
      for (Index i = 0; i < n; ++i) places[item * columns.out + x + i] = plane + place_of(args, found[i]);
    }
  }
}

}  // namespace

namespace RDQUANT_KERNELS_ISA {
const PlainPool plain_pool = {.block = kBlock, .pool = pool_plain, .places = pool_places};
}
}  // namespace rdquant::runtime::kernels
