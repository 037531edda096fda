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

// As taps_inside, without divisions where taps lie side by side: short rows would wait for them.
Span window_taps(const PoolAxis& axis, Index start) {
  if (axis.dilation != 1) return taps_inside(start, axis.kernel, axis.dilation, axis.in);
  const Index begin = start < 0 ? -start : 0, room = axis.in - start;
  const Index end = room < axis.kernel ? room : axis.kernel;
  return {begin, end > begin ? end : begin};
}

// Where in the results a row lies.
struct Row {
  Index plane, z, y;
};

Row row_of(const PlainPoolArgs& args, Index item) {
  const Index rows = args.axes[1].out, deep = args.axes[0].out;
  return {item / rows / deep, item / rows % deep, item % rows};
}

void step(const PlainPoolArgs& args, Row& row) {
  if (++row.y < args.axes[1].out) return;
  row.y = 0;
  if (++row.z < args.axes[0].out) return;
  row.z = 0;
  ++row.plane;
}

Index counted_taps(const PoolAxis& axis, Index start, const Span& inside, bool count_pad) {
  if (!count_pad) return inside.end - inside.begin;
  const Span padded =
      taps_inside(start + axis.before, axis.kernel, axis.dilation, axis.before + axis.in + axis.counted);
  return padded.end - padded.begin;
}

RowWindow row_window(const PlainPoolArgs& args, Index z, Index y) {
  const PoolAxis &depth = args.axes[0], &rows = args.axes[1];
  const Index front = z * depth.stride - depth.before, top = y * rows.stride - rows.before;
  const Span deep = window_taps(depth, front);
  const Span high = window_taps(rows, top);
  return {deep, high, front, top,
          static_cast<float>(counted_taps(depth, front, deep, args.count_pad) *
                             counted_taps(rows, top, high, args.count_pad))};
}

// The rows under a window, some at a time: where in their plane each begins.
struct Rows {
  static constexpr Index kMost = 32;
  Index starts[kMost], count;
};

// body(rows, whether they are the first) until all rows of the window have been seen; once at least.
template <class Body>
[[gnu::always_inline]] inline void for_rows(const PlainPoolArgs& args, const RowWindow& window, Body body) {
  const PoolAxis &depth = args.axes[0], &rows = args.axes[1];
  Rows some;
  some.count = 0;
  bool first = true;
  for (Index kz = window.deep.begin; kz < window.deep.end; ++kz) {
    const Index plane = (window.front + kz * depth.dilation) * rows.in;
    for (Index ky = window.high.begin; ky < window.high.end; ++ky) {
      if (some.count == Rows::kMost) {
        body(some, first);
        first = false;
        some.count = 0;
      }
      some.starts[some.count++] = (plane + window.top + ky * rows.dilation) * args.axes[2].in;
    }
  }
  body(some, first);
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

// N vectors of each row at once.
template <Pooled F, int N>
[[gnu::always_inline]] inline void join_vectors(const float* plane, const Rows& rows, bool first, float* to) {
  F32 all[N];
  for (int v = 0; v < N; ++v) all[v] = first ? splat(kNothing<F>) : load(to + v * kBlock);
  for (Index r = 0; r < rows.count; ++r) {
    for (int v = 0; v < N; ++v) all[v] = see<F>(all[v], load(plane + rows.starts[r] + v * kBlock));
  }
  for (int v = 0; v < N; ++v) store(to + v * kBlock, all[v]);
}

// The rows under a window brought into one of `width` elements.
template <Pooled F>
void join_rows(const float* plane, const Rows& rows, bool first, float* to, Index width) {
  Index i = 0;
  for (; i + 4 * kBlock <= width; i += 4 * kBlock) join_vectors<F, 4>(plane + i, rows, first, to + i);
  for (; i + kBlock <= width; i += kBlock) join_vectors<F, 1>(plane + i, rows, first, to + i);
  const Index n = width - i;
  if (n == 0) return;
  F32 all = first ? splat(kNothing<F>) : load_some(to + i, n);
  for (Index r = 0; r < rows.count; ++r) all = see<F>(all, load_some(plane + rows.starts[r] + i, n));
  store_some(to + i, all, n);
}

// The columns under each window of a row.
template <Pooled F>
void join_columns(const PoolAxis& columns, const float* row, float counted, const float* counts, float* to) {
  for (Index x = 0; x < columns.out; x += kBlock) {
    F32 all = splat(kNothing<F>);
    for (Index k = 0; k < columns.kernel; ++k)
      all = join<F>(all, load_every(row + x * columns.stride + k * columns.dilation, columns.stride));
    const Index n = columns.out - x;
    store_some(to + x, finish<F>(all, counted, counts + x), n < kBlock ? n : kBlock);
  }
}

// The same in place where each window is a column of its own: nothing behind the row is read.
template <Pooled F>
void finish_columns(float* row, Index out, float counted, const float* counts) {
  for (Index x = 0; x < out; x += kBlock) {
    const Index n = out - x < kBlock ? out - x : kBlock;
    store_some(row + x, finish<F>(load_some(row + x, n), counted, counts + x), n);
  }
}

// Whether every window has two columns of its own.
bool pairs_columns(const PoolAxis& columns) {
  return columns.kernel == 2 && columns.stride == 2 && columns.dilation == 1 && columns.before == 0 &&
         2 * columns.out <= columns.in;
}

// Windows over pairs of columns: their rows are brought into one in registers.
template <Pooled F>
void join_pairs(const PlainPoolArgs& args, const float* plane, const RowWindow& window, const float* counts,
                float* to) {
  const PoolAxis &depth = args.axes[0], &rows = args.axes[1], &columns = args.axes[2];
  const I32 even = count_up(0, 2), odd = count_up(1, 2);
  for (Index x = 0; x < columns.out; x += kBlock) {
    const Index n = columns.out - x < kBlock ? columns.out - x : kBlock;
    const Index low = 2 * n < kBlock ? 2 * n : kBlock;
    F32 left = splat(kNothing<F>), right = left;
    for (Index kz = window.deep.begin; kz < window.deep.end; ++kz) {
      for (Index ky = window.high.begin; ky < window.high.end; ++ky) {
        const Index row = (window.front + kz * depth.dilation) * rows.in + window.top + ky * rows.dilation;
        const float* const from = plane + row * columns.in + 2 * x;
        left = see<F>(left, load_some(from, low));
        right = see<F>(right, load_some(from + low, 2 * n - low));
      }
    }
    const F32 both = join<F>(simd::lookup_lanes(left, right, even), simd::lookup_lanes(left, right, odd));
    store_some(to + x, finish<F>(both, window.counted, counts + x), n);
  }
}

template <Pooled F>
void pool_pairs(const PlainPoolArgs& args, const float* src, float* dst, float* counts, Index begin,
                Index end) {
  const Index area = args.axes[0].in * args.axes[1].in * args.axes[2].in;
  if constexpr (F == Pooled::average) count_columns(args, counts);
  Row at = row_of(args, begin);
  for (Index item = begin; item < end; ++item, step(args, at))
    join_pairs<F>(args, src + at.plane * area, row_window(args, at.z, at.y), counts,
                  dst + item * args.axes[2].out);
}

template <Pooled F>
void pool_rows(const PlainPoolArgs& args, const float* src, float* dst, float* scratch, Index begin,
               Index end) {
  const PoolAxis& columns = args.axes[2];
  if (pairs_columns(columns)) return pool_pairs<F>(args, src, dst, scratch, begin, end);
  const Index area = args.axes[0].in * args.axes[1].in * columns.in;
  const Index padded = padded_row(columns, kBlock);
  float* const counts = scratch + kPlainPoolRows * padded;
  fill(scratch, kNothing<F>, kPlainPoolRows * padded);
  if constexpr (F == Pooled::average) count_columns(args, counts);
  const bool alone = keeps_columns(columns);
  Row at = row_of(args, begin);
  for (Index item = begin; item < end; item += kPlainPoolRows) {
    const Index n = end - item < kPlainPoolRows ? end - item : kPlainPoolRows;
    float* const to = dst + item * columns.out;
    float counted[kPlainPoolRows];
    for (Index i = 0; i < n; ++i, step(args, at)) {
      const RowWindow window = row_window(args, at.z, at.y);
      counted[i] = window.counted;
      float* const row = alone ? to + i * columns.out : scratch + i * padded + columns.before;
      for_rows(args, window, [&](const Rows& some, bool first) {
        join_rows<F>(src + at.plane * area, some, first, row, columns.in);
      });
    }
    // later, as what has just been stored in other pieces cannot be loaded at once
    if (alone && F != Pooled::average && F != Pooled::l2) continue;
    for (Index i = 0; i < n; ++i) {
      float* const made = to + i * columns.out;
      if (alone) {
        finish_columns<F>(made, columns.out, counted[i], counts);
      } else {
        join_columns<F>(columns, scratch + i * padded, counted[i], counts, made);
      }
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

namespace RDQUANT_KERNELS_ISA {
const PlainPool plain_pool = {.block = kBlock, .pool = pool_plain, .places = pool_places};
}
}  // namespace rdquant::runtime::kernels
