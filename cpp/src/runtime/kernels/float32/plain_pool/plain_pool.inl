// Windows over plain arrays: the rows under a window are brought into one, then its columns. Included by one file per
// instruction set, which sets RDQUANT_KERNELS_ISA.
#include "runtime/kernels/float32/plain_pool/places.inl"
#include "runtime/kernels/float32/plain_pool/rows.inl"

namespace rdquant::runtime::kernels {
namespace {

constexpr bool is_max(Pooled f) { return f == Pooled::max || f == Pooled::max_of_numbers; }

template <Pooled F>
constexpr float kNothing = is_max(F) ? -__builtin_inff() : 0.0f;

template <Pooled F>
[[gnu::always_inline]] inline F32 see(F32 so_far, F32 x) {
  if constexpr (F == Pooled::max) return simd::max_or_nan(so_far, x);
  if constexpr (F == Pooled::max_of_numbers) return simd::max(so_far, x);
  if constexpr (F == Pooled::l1) return so_far + simd::abs(x);
  if constexpr (F == Pooled::l2) return fma(x, x, so_far);
  return so_far + x;
}

// What the columns of a window make of what its rows have made.
template <Pooled F>
[[gnu::always_inline]] inline F32 join(F32 so_far, F32 x) {
  return see<is_max(F) ? F : Pooled::average>(so_far, x);
}

// Where no window reaches past one column.
bool keeps_columns(const PoolAxis& columns) {
  return columns.kernel == 1 && columns.stride == 1 && columns.before == 0 && columns.out == columns.in;
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
  for (; i + 2 * kBlock <= width; i += 2 * kBlock) join_vectors<F, 2>(plane + i, rows, first, to + i);
  for (; i + kBlock <= width; i += kBlock) join_vectors<F, 1>(plane + i, rows, first, to + i);
  const Index n = width - i;
  if (n == 0) return;
  F32 all = first ? splat(kNothing<F>) : load_some(to + i, n);
  for (Index r = 0; r < rows.count; ++r) all = see<F>(all, load_some(plane + rows.starts[r] + i, n));
  store_some(to + i, all, n);
}

// N vectors of windows at once, the last of which may be short.
template <Pooled F, int N, class Stride>
[[gnu::always_inline]] inline void join_columns_of(const PoolAxis& columns, Stride stride, const float* row,
                                                   float counted, const float* counts, float* to, Index x) {
  F32 all[N];
  for_each<N>([&](auto v) __attribute__((always_inline)) { all[v] = splat(kNothing<F>); });
  const float* from = row + x * stride;
  for (Index k = 0; k < columns.kernel; ++k, from += columns.dilation) {
    for_each<N>([&](auto v) __attribute__((always_inline)) {
      all[v] = join<F>(all[v], load_every(from + v * kBlock * stride, stride));
    });
  }
  for_each<N>([&](auto v) __attribute__((always_inline)) {
    const Index at = x + v * kBlock, n = columns.out - at;
    store_some(to + at, finish<F>(all[v], counted, counts + at), n < kBlock ? n : kBlock);
  });
}

// The columns under each window of a row, `stride` apart.
template <Pooled F, class Stride>
void join_columns(const PoolAxis& columns, Stride stride, const float* row, float counted,
                  const float* counts, float* to) {
  Index x = 0;
  for (; x + 3 * kBlock < columns.out; x += 4 * kBlock)
    join_columns_of<F, 4>(columns, stride, row, counted, counts, to, x);
  for (; x + kBlock < columns.out; x += 2 * kBlock)
    join_columns_of<F, 2>(columns, stride, row, counted, counts, to, x);
  if (x < columns.out) join_columns_of<F, 1>(columns, stride, row, counted, counts, to, x);
}

template <Pooled F>
void join_columns(const PoolAxis& columns, const float* row, float counted, const float* counts, float* to) {
  if (columns.stride == 1)
    return join_columns<F>(columns, std::integral_constant<Index, 1>{}, row, counted, counts, to);
  if (columns.stride == 2)
    return join_columns<F>(columns, std::integral_constant<Index, 2>{}, row, counted, counts, to);
  join_columns<F>(columns, columns.stride, row, counted, counts, to);
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

// NaN is greater than infinity by its bits.
bool are_numbers(const float* p, Index n) {
  const I32 magnitude = simd::splat(0x7fffffff);
  I32 most = simd::splat(0);
  Index i = 0;
  for (; i + kBlock <= n; i += kBlock) most = max(most, simd::bits_as<I32>(load(p + i)) & magnitude);
  if (i < n) most = max(most, simd::bits_as<I32>(load_some(p + i, n - i)) & magnitude);
  return !simd::any(simd::splat(0x7f800000) < most);
}

// Some planes after others, while the first cache holds what has been searched for NaN.
void pool_max(const PlainPoolArgs& args, const float* src, float* dst, float* scratch, Index begin,
              Index end) {
  constexpr Index kFloats = 4096;
  const Index area = args.axes[0].in * args.axes[1].in * args.axes[2].in;
  const Index rows = args.axes[0].out * args.axes[1].out, planes = area < kFloats ? kFloats / area : 1;
  while (begin < end) {
    const Index first = begin / rows, limit = (first + planes) * rows, until = limit < end ? limit : end;
    const bool numbers = are_numbers(src + first * area, (divide(until, rows) - first) * area);
    (numbers ? pool_rows<Pooled::max_of_numbers> : pool_rows<Pooled::max>)(args, src, dst, scratch, begin,
                                                                           until);
    begin = until;
  }
}

void pool_plain(const PlainPoolArgs& args, const float* src, float* dst, float* scratch, Index begin,
                Index end) {
  switch (args.function) {
    case Pooled::max:
    case Pooled::max_of_numbers:
      return pool_max(args, src, dst, scratch, begin, end);
    case Pooled::average:
      return pool_rows<Pooled::average>(args, src, dst, scratch, begin, end);
    case Pooled::l1:
      return pool_rows<Pooled::l1>(args, src, dst, scratch, begin, end);
    default:
      return pool_rows<Pooled::l2>(args, src, dst, scratch, begin, end);
  }
}

}  // namespace

namespace RDQUANT_KERNELS_ISA {
const PlainPool plain_pool = {.block = kBlock, .pool = pool_plain, .places = pool_places};
}
}  // namespace rdquant::runtime::kernels
