// Means of windows of int8 values.
#pragma once

#include <limits>

#include "runtime/kernels/int8/layers/pool_rows.inl"
#include "runtime/kernels/int8/layers/rounding.inl"

namespace rdquant::runtime::kernels {
namespace {

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

// What the means of all windows need.
struct Means {
  Rounding levels;
  I32 flip;  // of signed values
  std::int32_t src_zero;

  explicit Means(const PoolArgs& args)
      : levels(rounding(args.zero, args.low, args.high)),
        flip(args.is_signed ? splat(static_cast<std::int32_t>(0x80808080u)) : I32{}),
        src_zero(args.src_zero + (args.is_signed ? 128 : 0)) {}

  // The levels of the means of `bytes` channels of a window of `count` pixels.
  void store(std::uint8_t* out, Index bytes, const I32* sums, Index count, F32 scale) const {
    const I32 zeros = splat(static_cast<std::int32_t>(count) * src_zero);
    I32 means[4] = {levels.zero, levels.zero, levels.zero, levels.zero};
    if (count > 0) {
      for (int j = 0; j < 4; ++j) means[j] = to_int8(levels, to_float(sums[j] - zeros) * scale);
    }
    store_some_words(out, join(means), bytes);
  }
};

inline F32 scale_of(const PoolShape& s, const PoolArgs& args, const PoolRow& row, Index left, Index count) {
  Index divisor = count;
  if (s.count_pad) {
    const Span padded = taps_inside(left + s.left, s.kw, s.dw, s.w + s.left + s.right);
    divisor = row.padded * (padded.end - padded.begin);
  }
  return splat(args.scale / static_cast<float>(divisor));
}

void averages(const PoolShape& s, const PoolArgs& args, const PoolRow& row) {
  const Means means(args);
  std::uint8_t* out = row.dst;
  for (Index x = 0; x < s.ow; ++x, out += args.dst_pixel) {
    const Index left = x * s.sw - s.left;
    const Span columns = columns_of(s, left);
    const Index count = (row.rows.end - row.rows.begin) * (columns.end - columns.begin);
    const F32 scale = scale_of(s, args, row, left, count);
    if (count > kMostPixels) {
      for (Index k = 0; k < s.c; ++k) {
        const F32 sum = splat(long_sum(s, args, row, left, columns, k));
        store_some_bytes(out + k, to_int8(means.levels, sum * scale), 1);
      }
      continue;
    }
    for (Index k = 0; k < s.c; k += kWordBytes) {
      const Index bytes = s.c - k < kWordBytes ? s.c - k : kWordBytes;
      const WordSums all = window_sums(s, args, row, left, columns, k, divide(bytes, 4), means.flip);
      means.store(out + k, bytes, all.sums, count, scale);
    }
  }
}

constexpr Index kStrip = 256;  // columns at a time

// Whether sums of columns, which grow and shrink by what enters and leaves, cost less than those of windows.
inline bool windows_overlap(const PoolShape& s) {
  constexpr Index kMostRows = 256;  // whose sums 16 bits hold
  return s.dh == 1 && s.dw == 1 && s.kh <= kMostRows && 2 * s.kw <= kStrip && s.oh * s.ow > 1 &&
         4 * s.sw * (s.sh + 1) < s.kh * s.kw;
}

// Sums of the levels of a word of channels over some rows of each column of a strip.
class ColumnSums {
 public:
  ColumnSums(const PoolShape& s, const PoolArgs& args, const std::uint8_t* src, Index words, I32 flip)
      : src_(src), line_(s.w * args.src_pixel), pixel_(args.src_pixel), words_(words), flip_(flip) {}

  // Takes the sums of `columns` from the rows that they are of to `wanted`, neither end of which goes back.
  void move(Span columns, Span wanted) {
    const Span taken = rows_;
    if (wanted.begin >= taken.end) {
      for (Index x = 0; x < columns.end - columns.begin; ++x) even_[x] = odd_[x] = U32{};
      for (Index y = wanted.begin; y < wanted.end; ++y) include(columns, y, false);
    } else {
      for (Index y = taken.begin; y < wanted.begin; ++y) include(columns, y, true);
      for (Index y = taken.end; y < wanted.end; ++y) include(columns, y, false);
    }
    rows_ = wanted;
  }

  void add_to(I32* sums, Index x) const {
    sums[0] += simd::bits_as<I32>(even_[x] & 0xffff);
    sums[1] += simd::bits_as<I32>(odd_[x] & 0xffff);
    sums[2] += simd::bits_as<I32>(even_[x] >> 16);
    sums[3] += simd::bits_as<I32>(odd_[x] >> 16);
  }

  void take_from(I32* sums, Index x) const {
    sums[0] -= simd::bits_as<I32>(even_[x] & 0xffff);
    sums[1] -= simd::bits_as<I32>(odd_[x] & 0xffff);
    sums[2] -= simd::bits_as<I32>(even_[x] >> 16);
    sums[3] -= simd::bits_as<I32>(odd_[x] >> 16);
  }

 private:
  void include(Span columns, Index y, bool leaves) {
    const std::uint8_t* p = src_ + y * line_ + columns.begin * pixel_;
    for (Index x = 0; x < columns.end - columns.begin; ++x, p += pixel_) {
      const auto levels = simd::bits_as<U32>(load_some_words(p, words_) ^ flip_);
      const U32 even = levels & 0x00ff00ff;
      const U32 odd = (levels >> 8) & 0x00ff00ff;
      even_[x] = leaves ? even_[x] - even : even_[x] + even;
      odd_[x] = leaves ? odd_[x] - odd : odd_[x] + odd;
    }
  }

  const std::uint8_t* src_;
  Index line_;
  Index pixel_;
  Index words_;
  I32 flip_;
  Span rows_ = {0, 0};
  U32 even_[kStrip];  // pairs of sums of 16 bits
  U32 odd_[kStrip];
};

inline Span inside(Index start, Index size, Index of) {
  const Index begin = start < 0 ? 0 : (start > of ? of : start);
  const Index end = start + size > of ? of : start + size;
  return {begin, end < begin ? begin : end};
}

// Of `count` windows from the one at x on, channels from k on, along one row.
inline void strip_averages(const PoolShape& s, const PoolArgs& args, const PoolRow& row, const Means& means,
                           const ColumnSums& of_columns, Index x, Index count, Index k) {
  const Index bytes = s.c - k < kWordBytes ? s.c - k : kWordBytes;
  const Index rows = row.rows.end - row.rows.begin;
  const Index first = inside(x * s.sw - s.left, s.kw, s.w).begin;  // that of_columns begins with
  I32 sums[4] = {};
  Span held = {first, first};
  for (const Index end = x + count; x < end; ++x) {
    const Index left = x * s.sw - s.left;
    const Span wanted = inside(left, s.kw, s.w);
    for (Index column = held.end; column < wanted.end; ++column) of_columns.add_to(sums, column - first);
    for (Index column = held.begin; column < wanted.begin; ++column) {
      of_columns.take_from(sums, column - first);
    }
    held = wanted;
    const Index pixels = rows * (wanted.end - wanted.begin);
    means.store(row.dst + x * args.dst_pixel + k, bytes, sums, pixels, scale_of(s, args, row, left, pixels));
  }
}

// The same as averages of rows of one image, where windows overlap.
void running_averages(const PoolShape& s, const PoolArgs& args, Index begin, Index end) {
  const Means means(args);
  const Index step = (kStrip - s.kw) / s.sw + 1;  // windows at a time
  for (Index x = 0; x < s.ow; x += step) {
    const Index count = s.ow - x < step ? s.ow - x : step;
    const Span columns = inside(x * s.sw - s.left, (count - 1) * s.sw + s.kw, s.w);
    for (Index k = 0; k < s.c; k += kWordBytes) {
      const Index bytes = s.c - k < kWordBytes ? s.c - k : kWordBytes;
      ColumnSums sums(s, args, args.src + begin / s.oh * args.src_image + k, divide(bytes, 4), means.flip);
      for_rows(s, args, begin, end, [&](const PoolRow& row) {
        sums.move(columns, inside(row.top, s.kh, s.h));
        strip_averages(s, args, row, means, sums, x, count, k);
      });
    }
  }
}

void all_averages(const PoolShape& s, const PoolArgs& args, Index begin, Index end) {
  if (!windows_overlap(s)) {
    for_rows(s, args, begin, end, [&](const PoolRow& row) { averages(s, args, row); });
    return;
  }
  while (begin < end) {
    const Index next = (begin / s.oh + 1) * s.oh;  // the next image
    running_averages(s, args, begin, next < end ? next : end);
    begin = next;
  }
}

}  // namespace
}  // namespace rdquant::runtime::kernels
