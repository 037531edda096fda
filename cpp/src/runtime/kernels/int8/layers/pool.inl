// Windows over images of int8 values.
#pragma once

#include "runtime/kernels/int8/layers/averages.inl"
#include "runtime/kernels/int8/layers/pool_rows.inl"

namespace rdquant::runtime::kernels {
namespace {

template <int N, class T>
using Bytes = simd::Vector<T, N>;

template <int N, class T>
inline Bytes<N, T> least_value() {
  return simd::splat_as<Bytes<N, T>>(std::is_signed_v<T> ? -128 : 0);
}

// Of a window of which `rows` and `columns` lie in the image. Size: that of windows wholly inside, dense and
// square, or 0.
template <int N, class T, int Size>
inline Bytes<N, T> maximum(const PoolShape& s, const PoolArgs& args, const PoolRow& row, Index left,
                           Span columns, Index k) {
  const std::uint8_t* const in = row.src + left * args.src_pixel + k;
  const Index line = s.w * args.src_pixel;
  Bytes<N, T> all = least_value<N, T>();
  if constexpr (Size > 0) {
    for (Index ky = 0; ky < Size; ++ky) {
      const std::uint8_t* const p = in + (row.top + ky) * line;
      for_each<Size>([&](auto kx) { all = max(all, simd::load_as<Bytes<N, T>>(p + kx * args.src_pixel)); });
    }
  } else {
    for (Index ky = row.rows.begin; ky < row.rows.end; ++ky) {
      const std::uint8_t* p = in + (row.top + ky * s.dh) * line + columns.begin * s.dw * args.src_pixel;
      for (Index kx = columns.begin; kx < columns.end; ++kx, p += s.dw * args.src_pixel) {
        all = max(all, simd::load_as<Bytes<N, T>>(p));
      }
    }
  }
  return all;
}

template <int N, class T, int Size>
void maxima(const PoolShape& s, const PoolArgs& args, const PoolRow& row) {
  std::uint8_t* out = row.dst;
  const bool all_rows = row.rows.end - row.rows.begin == s.kh;
  for (Index x = 0; x < s.ow; ++x, out += args.dst_pixel) {
    const Index left = x * s.sw - s.left;
    const Span columns = columns_of(s, left);
    if (Size > 0 && all_rows && columns.end - columns.begin == s.kw) {
      for_chunks<N>(s.c, [&](Index k) {
        simd::store_as(out + k, maximum<N, T, Size>(s, args, row, left, columns, k));
      });
    } else {
      for_chunks<N>(
          s.c, [&](Index k) { simd::store_as(out + k, maximum<N, T, 0>(s, args, row, left, columns, k)); });
    }
  }
}

constexpr Index kColumns = 128;

// The same where windows overlap much: maxima of columns first, then of those.
template <int N, class T>
void separable_maxima(const PoolShape& s, const PoolArgs& args, const PoolRow& row) {
  const Index span = (s.kw - 1) * s.dw + 1;
  const Index step = (kColumns - span) / s.sw + 1;  // windows at a time
  for (Index first = 0; first < s.ow; first += step) {
    const Index count = s.ow - first < step ? s.ow - first : step;
    const Index left = first * s.sw - s.left;
    for_chunks<N>(s.c, [&](Index k) {
      Bytes<N, T> columns[kColumns];
      for (Index x = 0; x < (count - 1) * s.sw + span; ++x) {
        Bytes<N, T> all = least_value<N, T>();
        if (left + x >= 0 && left + x < s.w) {
          for (Index ky = row.rows.begin; ky < row.rows.end; ++ky) {
            const Index place = (row.top + ky * s.dh) * s.w + left + x;
            all = max(all, simd::load_as<Bytes<N, T>>(row.src + place * args.src_pixel + k));
          }
        }
        columns[x] = all;
      }
      for (Index x = 0; x < count; ++x) {
        Bytes<N, T> all = columns[x * s.sw];
        for (Index kx = 1; kx < s.kw; ++kx) all = max(all, columns[x * s.sw + kx * s.dw]);
        simd::store_as(row.dst + (first + x) * args.dst_pixel + k, all);
      }
    });
  }
}

template <class T>
void all_maxima(const PoolShape& s, const PoolArgs& args, Index begin, Index end) {
  const bool separable = s.kh * s.sw + s.kw < s.kh * s.kw && (s.kw - 1) * s.dw < kColumns;
  const bool square = s.kh == s.kw && s.dh == 1 && s.dw == 1;
  with_width(s.c, [&](auto width) {
    constexpr int kWidth = decltype(width)::value;
    auto* run = maxima<kWidth, T, 0>;
    if (square && s.kw == 2) run = maxima<kWidth, T, 2>;
    if (square && s.kw == 3) run = maxima<kWidth, T, 3>;
    if (separable) run = separable_maxima<kWidth, T>;
    for_rows(s, args, begin, end, [&](const PoolRow& row) { run(s, args, row); });
  });
}

void pool(const PoolShape& s, const PoolArgs& args, Index begin, Index end) {
  if (s.average) {
    all_averages(s, args, begin, end);
  } else if (args.is_signed) {
    all_maxima<std::int8_t>(s, args, begin, end);
  } else {
    all_maxima<std::uint8_t>(s, args, begin, end);
  }
}

}  // namespace
}  // namespace rdquant::runtime::kernels
