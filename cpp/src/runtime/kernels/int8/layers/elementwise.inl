// Sums and products of int8 values; pixels repeated.
#pragma once

#include "runtime/kernels/int8/kernels.hpp"
#include "runtime/kernels/int8/layers/rounding.inl"

namespace rdquant::runtime::kernels {
namespace {

// Int8Sum over words. Values of type int8 become uint8 by `flip`, which adds 128 to them and to their zero.
struct WordSum {
  F32 a_scale, b_scale;
  I32 a_flip, b_flip, a_zero, b_zero;
  Rounding rounding;
};

inline WordSum word_sum(const Int8Sum& s) {
  const I32 flip = splat(static_cast<std::int32_t>(0x80808080u));
  return {splat(s.a_scale),
          splat(s.b_scale),
          s.a_signed ? flip : I32{},
          s.b_signed ? flip : I32{},
          splat(s.a_zero + (s.a_signed ? 128 : 0)),
          splat(s.b_zero + (s.b_signed ? 128 : 0)),
          rounding(s.zero, s.low, s.high)};
}

template <bool Product>
inline I32 combine(const WordSum& s, I32 a, I32 b) {
  I32 levels[4];
  for_each<4>([&](auto i) {
    constexpr int kLevel = decltype(i)::value;
    const F32 x = to_float(split<kLevel, false>(a ^ s.a_flip) - s.a_zero);
    const F32 y = to_float(split<kLevel, false>(b ^ s.b_flip) - s.b_zero);
    levels[kLevel] = to_int8(s.rounding, Product ? (x * y) * s.a_scale : x * s.a_scale + y * s.b_scale);
  });
  return join(levels);
}

template <bool Product>
void combine_all(const Int8Sum& sum, const std::uint8_t* a, const std::uint8_t* b, std::uint8_t* dst,
                 Index begin, Index end) {
  const WordSum s = word_sum(sum);
  Index i = begin;
  for (; i + kWordBytes <= end; i += kWordBytes) {
    store_words(dst + i, combine<Product>(s, load_words(a + i), load_words(b + i)));
  }
  if (i == end) return;
  const auto rest = static_cast<std::size_t>(end - i);
  std::uint8_t last_a[kWordBytes] = {};
  std::uint8_t last_b[kWordBytes] = {};
  std::memcpy(last_a, a + i, rest);
  std::memcpy(last_b, b + i, rest);
  store_words(last_a, combine<Product>(s, load_words(last_a), load_words(last_b)));
  std::memcpy(dst + i, last_a, rest);
}

void add(const Int8Sum& sum, const std::uint8_t* a, const std::uint8_t* b, std::uint8_t* dst, Index begin,
         Index end) {
  combine_all<false>(sum, a, b, dst, begin, end);
}

void multiply(const Int8Sum& sum, const std::uint8_t* a, const std::uint8_t* b, std::uint8_t* dst,
              Index begin, Index end) {
  combine_all<true>(sum, a, b, dst, begin, end);
}

// One row of pixels, each `times` times.
template <int N>
inline void repeat(const std::uint8_t* src, Index src_pixel, std::uint8_t* dst, Index dst_pixel, Index c,
                   Index w, Index times) {
  for (Index x = 0; x < w; ++x, src += src_pixel) {
    for (Index i = 0; i < times; ++i, dst += dst_pixel) {
      for_chunks<N>(c, [&](Index k) {
        simd::store_as(dst + k, simd::load_as<simd::Vector<std::uint8_t, N>>(src + k));
      });
    }
  }
}

void resize(const std::uint8_t* src, Index src_image, Index src_pixel, std::uint8_t* dst, Index dst_image,
            Index dst_pixel, Index c, Index h, Index w, Index fy, Index fx, Index begin, Index end) {
  const Index row = w * fx * dst_pixel;
  with_width(c, [&](auto width) {
    for (Index item = begin; item < end; ++item) {
      const std::uint8_t* const in = src + item / h * src_image + item % h * w * src_pixel;
      std::uint8_t* const out = dst + item / h * dst_image + item % h * fy * row;
      for (Index i = 0; i < fy; ++i) {
        if (i > 0 && dst_pixel == c) {
          std::memcpy(out + i * row, out, static_cast<std::size_t>(row));
        } else {
          repeat<decltype(width)::value>(in, src_pixel, out + i * row, dst_pixel, c, w, fx);
        }
      }
    }
  });
}

// Bytes as words of as many copies.
template <typename Word>
inline void repeat_bytes(const std::uint8_t* src, std::uint8_t* dst, Index c) {
  constexpr Index kTimes = sizeof(Word);
  constexpr auto kOnes = static_cast<Word>(static_cast<Word>(-1) / 255);
  Index k = 0;
  for (; k + simd::kLanes <= c; k += simd::kLanes) {
    auto word = simd::convert<Word>(
        simd::convert<std::uint16_t>(simd::load_as<simd::Vector<std::uint8_t, simd::kLanes>>(src + k)));
    word = word | (word << 8);
    if constexpr (kTimes == 4) word = word | (word << 16);
    simd::store_as(dst + k * kTimes, word);
  }
  for (; k < c; ++k) {
    const auto word = static_cast<Word>(src[k] * kOnes);
    std::memcpy(dst + k * kTimes, &word, kTimes);
  }
}

void repeat_channels(const std::uint8_t* src, Index src_pixel, std::uint8_t* dst, Index dst_pixel, Index c,
                     Index times, Index begin, Index end) {
  if (src_pixel == c &&
      dst_pixel == c * times) {  // pixels side by side are as good as one of all their channels
    src += begin * c;
    dst += begin * c * times;
    c *= end - begin;
    end = begin + 1;
    src_pixel = dst_pixel = 0;
  }
  for (Index p = begin; p < end; ++p) {
    if (times == 2) {
      repeat_bytes<std::uint16_t>(src + p * src_pixel, dst + p * dst_pixel, c);
    } else {
      repeat_bytes<std::uint32_t>(src + p * src_pixel, dst + p * dst_pixel, c);
    }
  }
}

// Columns of C channels as the low bytes of words.
template <Index C>
inline I32 load_columns(const std::uint8_t* src) {
  if constexpr (C == 1) {
    return load_bytes<false>(src);
  } else {
    return simd::convert<std::int32_t>(simd::load_as<simd::Vector<std::uint16_t, simd::kLanes>>(src));
  }
}

template <Index C>
inline void compact_columns(const std::uint8_t* src, std::uint8_t* dst, Index count) {
  Index i = 0;
  for (; i + simd::kLanes <= count; i += simd::kLanes) {
    const I32 words = load_words(src + i * 4);
    if constexpr (C == 1) {
      store_bytes(dst + i, words);
    } else {
      simd::store_as(dst + i * 2, simd::convert<std::uint16_t>(words));
    }
  }
  for (; i < count; ++i) std::memcpy(dst + i * C, src + i * 4, C);
}

void compact(const std::uint8_t* src, std::uint8_t* dst, Index c, Index count) {
  return c == 1 ? compact_columns<1>(src, dst, count) : compact_columns<2>(src, dst, count);
}

template <Index C>
inline void gather_columns(const std::uint8_t* src, Index dilation, std::uint8_t* dst, Index count) {
  for (Index i = 0; i < count; i += simd::kLanes) {
    I32 words = load_columns<C>(src + i * C);
    for_each<4 / C - 1>([&](auto next) {
      constexpr int kTap = decltype(next)::value + 1;
      words = words | (load_columns<C>(src + (i + kTap * dilation) * C) << (kTap * static_cast<int>(C) * 8));
    });
    const Index left = count - i;
    store_some_words(dst + i * 4, words, left < simd::kLanes ? 4 * left : kWordBytes);
  }
}

void gather_taps(const std::uint8_t* src, Index dilation, Index c, std::uint8_t* dst, Index count) {
  return c == 1 ? gather_columns<1>(src, dilation, dst, count) : gather_columns<2>(src, dilation, dst, count);
}

}  // namespace
}  // namespace rdquant::runtime::kernels
