// Windows over images of int8 values.
#pragma once

#include <limits>

#include "runtime/kernels/int8/kernels.hpp"
#include "runtime/kernels/int8/layers/rounding.inl"

namespace rdquant::runtime::kernels {
namespace {

using PoolArgs = Int8Kernels::PoolArgs;

// One row of windows.
struct PoolRow {
  const std::uint8_t* src;  // the image
  std::uint8_t* dst;        // the row
  Index top;
  Span rows;     // taps inside the image
  Index padded;  // and inside its padding
};

inline Span columns_of(const PoolShape& s, Index left) {
  if (left >= 0 && left + (s.kw - 1) * s.dw < s.w) return {0, s.kw};
  return taps_inside(left, s.kw, s.dw, s.w);
}

template <class Body>
inline void for_rows(const PoolShape& s, const PoolArgs& args, Index begin, Index end, Body body) {
  for (Index item = begin; item < end; ++item) {
    const Index y = item % s.oh;
    const Index top = y * s.sh - s.top;
    const Span padded = taps_inside(top + s.top, s.kh, s.dh, s.h + s.top + s.bottom);
    body(PoolRow{args.src + item / s.oh * args.src_image,
                 args.dst + item / s.oh * args.dst_image + y * s.ow * args.dst_pixel, top,
                 taps_inside(top, s.kh, s.dh, s.h), padded.end - padded.begin});
  }
}

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

// Sums over a window of the int8 values of kWords words, as uint8 once flipped.
struct WordSums {
  I32 sums[4] = {};
};

inline WordSums window_sums(const PoolShape& s, const PoolArgs& args, const PoolRow& row, Index left,
                            Span columns, Index k, Index words, I32 flip) {
  constexpr Index kMost = 256;  // pixels whose sum 16 bits hold
  WordSums all;
  U32 even = {};  // pairs of sums of 16 bits
  U32 odd = {};
  Index room = kMost;
  const auto spill = [&] {
    all.sums[0] += simd::bits_as<I32>(even & 0xffff);
    all.sums[1] += simd::bits_as<I32>(odd & 0xffff);
    all.sums[2] += simd::bits_as<I32>(even >> 16);
    all.sums[3] += simd::bits_as<I32>(odd >> 16);
    even = odd = U32{};
    room = kMost;
  };
  for (Index ky = row.rows.begin; ky < row.rows.end; ++ky) {
    const Index place = (row.top + ky * s.dh) * s.w + left + columns.begin * s.dw;
    const std::uint8_t* p = row.src + place * args.src_pixel + k;
    for (Index kx = columns.begin; kx < columns.end; ++kx, p += s.dw * args.src_pixel) {
      const auto levels = simd::bits_as<U32>(load_some_words(p, words) ^ flip);
      even += levels & 0x00ff00ff;
      odd += (levels >> 8) & 0x00ff00ff;
      if (--room == 0) spill();
    }
  }
  spill();
  return all;
}

// The most pixels whose sums int32 holds, with the source's zero taken away.
constexpr Index kMostPixels = std::numeric_limits<std::int32_t>::max() / 256;

// The mean of one channel of a larger window, less the source's zero, before it is scaled.
inline float long_sum(const PoolShape& s, const PoolArgs& args, const PoolRow& row, Index left, Span columns,
                      Index k) {
  std::int64_t sum = 0;
  for (Index ky = row.rows.begin; ky < row.rows.end; ++ky) {
    const Index place = (row.top + ky * s.dh) * s.w + left + columns.begin * s.dw;
    const std::uint8_t* p = row.src + place * args.src_pixel + k;
    for (Index kx = columns.begin; kx < columns.end; ++kx, p += s.dw * args.src_pixel) {
      sum += (args.is_signed ? static_cast<std::int8_t>(*p) : std::int32_t{*p}) - args.src_zero;
    }
  }
  return static_cast<float>(sum);
}

void averages(const PoolShape& s, const PoolArgs& args, const PoolRow& row) {
  const Rounding levels = rounding(args.zero, args.low, args.high);
  const I32 flip = args.is_signed ? splat(static_cast<std::int32_t>(0x80808080u)) : I32{};
  const std::int32_t src_zero = args.src_zero + (args.is_signed ? 128 : 0);
  std::uint8_t* out = row.dst;
  for (Index x = 0; x < s.ow; ++x, out += args.dst_pixel) {
    const Index left = x * s.sw - s.left;
    const Span columns = columns_of(s, left);
    const Index count = (row.rows.end - row.rows.begin) * (columns.end - columns.begin);
    Index divisor = count;
    if (s.count_pad) {
      const Span padded = taps_inside(left + s.left, s.kw, s.dw, s.w + s.left + s.right);
      divisor = row.padded * (padded.end - padded.begin);
    }
    const F32 scale = splat(args.scale / static_cast<float>(divisor));
    if (count > kMostPixels) {
      for (Index k = 0; k < s.c; ++k) {
        store_some_bytes(out + k, to_int8(levels, splat(long_sum(s, args, row, left, columns, k)) * scale),
                         1);
      }
      continue;
    }
    const I32 zeros = splat(static_cast<std::int32_t>(count) * src_zero);
    for (Index k = 0; k < s.c; k += kWordBytes) {
      const Index bytes = s.c - k < kWordBytes ? s.c - k : kWordBytes;
      I32 means[4] = {levels.zero, levels.zero, levels.zero, levels.zero};
      if (count > 0) {
        const WordSums all = window_sums(s, args, row, left, columns, k, divide(bytes, 4), flip);
        for (int j = 0; j < 4; ++j) means[j] = to_int8(levels, to_float(all.sums[j] - zeros) * scale);
      }
      store_some_words(out + k, join(means), bytes);
    }
  }
}

void pool(const PoolShape& s, const PoolArgs& args, Index begin, Index end) {
  if (s.average) {
    for_rows(s, args, begin, end, [&](const PoolRow& row) { averages(s, args, row); });
  } else if (args.is_signed) {
    all_maxima<std::int8_t>(s, args, begin, end);
  } else {
    all_maxima<std::uint8_t>(s, args, begin, end);
  }
}

}  // namespace
}  // namespace rdquant::runtime::kernels
