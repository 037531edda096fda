// Levels from float32 and back.
#pragma once

#include "integer_vec.inl"

namespace rdquant::runtime::kernels {
namespace {

constexpr Index kPixels = 64;  // of an item

// body(image, first pixel, one past the last) for every item of [begin, end).
template <class Body>
inline void for_pixels(Index area, Index begin, Index end, Body body) {
  const Index ranges = divide(area, kPixels);
  for (Index item = begin; item < end; ++item) {
    const Index first = item % ranges * kPixels;
    body(item / ranges, first, area - first < kPixels ? area : first + kPixels);
  }
}

inline Index least(Index a, Index b) { return a < b ? a : b; }

void extremes(const float* src, Index begin, Index end, float* low, float* high) {
  Vec lows[4];
  Vec highs[4];
  for (int j = 0; j < 4; ++j) {
    lows[j] = splat(*low);
    highs[j] = splat(*high);
  }
  Index i = begin;
  for (; i + 4 * kBlock <= end; i += 4 * kBlock) {
    for (int j = 0; j < 4; ++j) {
      const Vec x = load(src + i + j * kBlock);
      lows[j] = min(x, lows[j]);
      highs[j] = max(x, highs[j]);
    }
  }
  float all_lows[kBlock];
  float all_highs[kBlock];
  store(all_lows, min(min(lows[0], lows[1]), min(lows[2], lows[3])));
  store(all_highs, max(max(highs[0], highs[1]), max(highs[2], highs[3])));
  for (Index j = 0; j < kBlock; ++j) {
    if (all_lows[j] < *low) *low = all_lows[j];
    if (all_highs[j] > *high) *high = all_highs[j];
  }
  for (; i < end; ++i) {
    if (src[i] < *low) *low = src[i];
    if (src[i] > *high) *high = src[i];
  }
  // Which of −0 and 0 was met first depends on the lanes.
  *low += 0.0f;
  *high += 0.0f;
}

struct Quantizer {
  Vec scale;
  Rounding rounding;
};
inline Quantizer quantizer(float scale, std::int32_t zero, std::int32_t low, std::int32_t high) {
  return {splat(scale), rounding(zero, low, high)};
}
inline Ints quantized(const Quantizer& q, Vec x) { return to_levels(q.rounding, x / q.scale); }

void quantize(const float* src, std::uint8_t* dst, float scale, std::int32_t zero, std::int32_t low,
              std::int32_t high, Index begin, Index end) {
  const Quantizer q = quantizer(scale, zero, low, high);
  Index i = begin;
  for (; i + kBlock <= end; i += kBlock) store_levels(dst + i, quantized(q, load(src + i)));
  if (i < end) store_some_levels(dst + i, quantized(q, load_some(src + i, end - i)), end - i);
}

// Words of channels 4·w … 4·w + 3 of `count` pixels from `src` on, channels `area` apart; `zero` past channel
// c.
inline Ints quantized_word(const Quantizer& q, const float* src, Index area, Index channels, Index count) {
  Ints levels[4];
  for (int j = 0; j < 4; ++j) {
    if (j >= channels) {
      levels[j] = q.rounding.zero;
    } else {
      const float* const in = src + j * area;
      levels[j] = quantized(q, count == kBlock ? load(in) : load_some(in, count));
    }
  }
  return join(levels);
}

void quantize_plain(const float* src, Index src_image, std::uint8_t* dst, Index image, Index pixel, Index c,
                    Index area, float scale, std::int32_t zero, std::int32_t low, std::int32_t high,
                    Index begin, Index end) {
  const Quantizer q = quantizer(scale, zero, low, high);
  const Index written = least(divide(c, 4) * 4, pixel);
  for_pixels(area, begin, end, [&](Index n, Index first, Index last) {
    const float* const in = src + n * src_image;
    std::uint8_t* const out = dst + n * image;
    for (Index p = first; p < last; p += kBlock) {
      const Index count = least(kBlock, last - p);
      if (written == 4 && pixel == 4) {
        store_some_words(out + p * 4, quantized_word(q, in + p, area, c, count), 4 * count);
        continue;
      }
      for (Index channel = 0; channel < written; channel += kLevels) {
        Ints words[kWords] = {};
        for (Index w = 0; w < kWords && channel + 4 * w < c; ++w) {
          const Index k = channel + 4 * w;
          words[w] = quantized_word(q, in + k * area + p, area, c - k, count);
        }
        transpose(words);
        const Index bytes = least(kLevels, written - channel);
        for (Index j = 0; j < count; ++j) store_some_words(out + (p + j) * pixel + channel, words[j], bytes);
      }
    }
  });
}

void quantize_blocked(const float* src, Index src_image, std::uint8_t* dst, Index image, Index pixel, Index c,
                      Index area, float scale, std::int32_t zero, std::int32_t low, std::int32_t high,
                      Index begin, Index end) {
  const Quantizer q = quantizer(scale, zero, low, high);
  const Index written = least(divide(c, 4) * 4, pixel);
  const Index whole = c / kBlock * kBlock;
  for_pixels(area, begin, end, [&](Index n, Index first, Index last) {
    const float* const in = src + n * src_image;
    std::uint8_t* const out = dst + n * image;
    for (Index k = 0; k < whole; k += kBlock) {
      for (Index p = first; p < last; ++p) {
        store_levels(out + p * pixel + k, quantized(q, load(in + k * area + p * kBlock)));
      }
    }
    if (whole == c) return;
    for (Index p = first; p < last; ++p) {
      std::uint8_t* const to = out + p * pixel;
      store_some_levels(to + whole, quantized(q, load(in + whole * area + p * kBlock)), c - whole);
      for (Index k = c; k < written; ++k) to[k] = static_cast<std::uint8_t>(zero);
    }
  });
}

template <class Body>
inline void with_sign(bool is_signed, Body body) {
  is_signed ? body(std::true_type{}) : body(std::false_type{});
}

void dequantize(const std::uint8_t* src, bool is_signed, float* dst, float scale, std::int32_t zero,
                Index begin, Index end) {
  with_sign(is_signed, [&](auto sign) {
    constexpr bool kSigned = decltype(sign)::value;
    const Vec step = splat(scale);
    const Ints zeros = splat_int(zero);
    Index i = begin;
    for (; i + kBlock <= end; i += kBlock) {
      store(dst + i, to_floats(load_levels<kSigned>(src + i) - zeros) * step);
    }
    if (i == end) return;
    store_some(dst + i, to_floats(load_some_levels<kSigned>(src + i, end - i) - zeros) * step, end - i);
  });
}

// Levels of up to 4 channels from words of kBlock pixels to planes `area` apart.
template <bool Signed>
inline void dequantize_word(Ints word, Ints zero, Vec scale, float* dst, Index area, Index channels,
                            Index count) {
  for_each<4>([&](auto i) {
    constexpr int kLevel = decltype(i)::value;
    if (kLevel >= channels) return;
    const Vec x = to_floats(split<kLevel, Signed>(word) - zero) * scale;
    float* const out = dst + kLevel * area;
    if (count == kBlock) {
      store(out, x);
    } else {
      store_some(out, x, count);
    }
  });
}

void dequantize_plain(const std::uint8_t* src, Index image, Index pixel, bool is_signed, float* dst,
                      Index dst_image, Index c, Index area, float scale, std::int32_t zero, Index begin,
                      Index end) {
  with_sign(is_signed, [&](auto sign) {
    const Vec step = splat(scale);
    const Ints zeros = splat_int(zero);
    for_pixels(area, begin, end, [&](Index n, Index first, Index last) {
      const std::uint8_t* const in = src + n * image;
      float* const out = dst + n * dst_image;
      for (Index channel = 0; channel < c; channel += kLevels) {
        const Index count_words = least(kWords, divide(c - channel, 4));
        for (Index p = first; p < last; p += kBlock) {
          const Index count = least(kBlock, last - p);
          Ints words[kBlock] = {};
          for (Index j = 0; j < count; ++j) {
            words[j] = load_some_words(in + (p + j) * pixel + channel, count_words);
          }
          transpose(words);
          for (Index w = 0; w < count_words; ++w) {
            const Index k = channel + 4 * w;
            dequantize_word<decltype(sign)::value>(words[w], zeros, step, out + k * area + p, area, c - k,
                                                   count);
          }
        }
      }
    });
  });
}

void dequantize_blocked(const std::uint8_t* src, Index image, Index pixel, bool is_signed, float* dst,
                        Index dst_image, Index c, Index area, float scale, std::int32_t zero, Index begin,
                        Index end) {
  const Index whole = c / kBlock * kBlock;
  with_sign(is_signed, [&](auto sign) {
    constexpr bool kSigned = decltype(sign)::value;
    const Vec step = splat(scale);
    const Ints zeros = splat_int(zero);
    for_pixels(area, begin, end, [&](Index n, Index first, Index last) {
      const std::uint8_t* const in = src + n * image;
      float* const out = dst + n * dst_image;
      for (Index k = 0; k < whole; k += kBlock) {
        for (Index p = first; p < last; ++p) {
          store(out + k * area + p * kBlock,
                to_floats(load_levels<kSigned>(in + p * pixel + k) - zeros) * step);
        }
      }
      if (whole == c) return;
      for (Index p = first; p < last; ++p) {
        const Ints levels = load_some_levels<kSigned>(in + p * pixel + whole, c - whole);
        float* const to = out + whole * area + p * kBlock;
        store(to, splat(0.0f));
        store_some(to, to_floats(levels - zeros) * step, c - whole);
      }
    });
  });
}

}  // namespace
}  // namespace rdquant::runtime::kernels
