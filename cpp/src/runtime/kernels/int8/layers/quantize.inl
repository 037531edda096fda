// Int8 values from float32 and back.
#pragma once

#include <array>

#include "runtime/kernels/int8/layers/rounding.inl"

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

void min_max(const float* src, Index begin, Index end, float* low, float* high) {
  F32 lows[4];
  F32 highs[4];
  for (int j = 0; j < 4; ++j) {
    lows[j] = splat(*low);
    highs[j] = splat(*high);
  }
  Index i = begin;
  for (; i + 4 * kBlock <= end; i += 4 * kBlock) {
    for (int j = 0; j < 4; ++j) {
      const F32 x = load(src + i + j * kBlock);
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

// Divisions cost more than all the rest. The product with 1 / scale differs from the quotient by less than
// 3·2^-24 of it, so for quotients below 512 both round alike unless the product is within 2^-13 of a tie.
struct Quantizer {
  F32 scale, inverse;
  F32 gap;  // from the nearest int8 value, at least: above kTie where the inverse cannot be trusted
  Rounding rounding;
  F32 nan;  // a lane is NaN where one was met
};
constexpr float kTie = 0.5f - 1.0f / 8192.0f;

inline Quantizer quantizer(float scale, std::int32_t zero, std::int32_t low, std::int32_t high) {
  const bool narrow = zero - low <= 512 && low - zero <= 512 && high - zero <= 512 && zero - high <= 512;
  const bool trusted = narrow && scale > 1e-37f && scale < 1e37f;  // both it and its inverse are normal
  return {splat(scale), splat(1.0f / scale), splat(trusted ? 0.0f : 1.0f), rounding(zero, low, high),
          splat(0.0f)};
}

inline void look_for_nan(Quantizer& q, F32 x) { q.nan = select(x == x, q.nan, x); }

inline bool met_nan(const Quantizer& q) {
  float lanes[kBlock];
  store(lanes, q.nan);
  bool any = false;
  for (const float lane : lanes) any = any || lane != lane;
  return any;
}

inline I32 quantized(Quantizer& q, F32 x) {
  look_for_nan(q, x);
  return to_int8(q.rounding, x / q.scale);
}

template <int N>
[[gnu::always_inline]] inline void quantize_all(Quantizer& q, const F32 (&x)[4], I32* levels) {
  if constexpr (simd::kRegister == 16) {  // the test costs more there
    for (int i = 0; i < N; ++i) levels[i] = quantized(q, x[i]);
    return;
  }
  F32 gap = q.gap;
  for (int i = 0; i < N; ++i) {
    look_for_nan(q, x[i]);
    const F32 y = min(max(x[i] * q.inverse, q.rounding.low), q.rounding.high);
    const I32 whole = nearest(y);
    gap = max(gap, abs(y - to_float(whole)));
    levels[i] = whole + q.rounding.zero;
  }
  if (any_above(gap, splat(kTie))) [[unlikely]] {
    for (int i = 0; i < N; ++i) levels[i] = to_int8(q.rounding, x[i] / q.scale);
  }
}

bool quantize(const float* src, std::uint8_t* dst, float scale, std::int32_t zero, std::int32_t low,
              std::int32_t high, Index begin, Index end) {
  Quantizer q = quantizer(scale, zero, low, high);
  Index i = begin;
  for (; i + 4 * kBlock <= end; i += 4 * kBlock) {
    const F32 x[] = {load(src + i), load(src + i + kBlock), load(src + i + 2 * kBlock),
                     load(src + i + 3 * kBlock)};
    I32 levels[4];
    quantize_all<4>(q, x, levels);
    for (int j = 0; j < 4; ++j) store_bytes(dst + i + j * kBlock, levels[j]);
  }
  for (; i + kBlock <= end; i += kBlock) store_bytes(dst + i, quantized(q, load(src + i)));
  if (i < end) store_some_bytes(dst + i, quantized(q, load_some(src + i, end - i)), end - i);
  return met_nan(q);
}

// Words of pixels from `src` on, channels `area` apart, the first `count` of them; `zero` past the last one.
template <int Channels>
[[gnu::always_inline]] inline I32 quantized_word(Quantizer& q, const float* src, Index area, Index count) {
  F32 x[4];  // not of Channels: GCC 12 fails on arrays of one
  for (int j = 0; j < Channels; ++j) {
    x[j] = count == kBlock ? load(src + j * area) : load_some(src + j * area, count);
  }
  I32 levels[4];
  for (int j = 0; j < 4; ++j) levels[j] = q.rounding.zero;
  quantize_all<Channels>(q, x, levels);
  return join(levels);
}

// body(first pixel, how many) for as many as fill a register, and the rest.
template <class Body>
[[gnu::always_inline]] inline void for_blocks(Index first, Index last, Body body) {
  Index p = first;
  for (; p + kBlock <= last; p += kBlock) body(p, std::integral_constant<Index, kBlock>{});
  if (p < last) body(p, last - p);
}

// Pixels [first, last) of up to 4 channels, to pixels of 4 bytes.
template <int Channels>
void quantize_quads(Quantizer& shared, const float* src, Index area, std::uint8_t* dst, Index first,
                    Index last) {
  Quantizer q = shared;  // in registers, which the bytes written cannot be
  for_blocks(first, last, [&](Index p, auto count) __attribute__((always_inline)) {
    // images come from far away, and every page of them starts anew
    for (int j = 0; j < Channels; ++j) __builtin_prefetch(src + j * area + p + 512);
    store_some_words(dst + p * 4, quantized_word<Channels>(q, src + p, area, count), 4 * count);
  });
  shared.nan = q.nan;
}

// Up to 16 channels of pixels [first, last), `written` bytes of each.
template <int Channels>
void quantize_sixteen(Quantizer& shared, const float* src, Index area, std::uint8_t* dst, Index pixel,
                      Index written, Index first, Index last) {
  Quantizer q = shared;
  const I32 none = splat(0);
  for_blocks(first, last, [&](Index p, auto count) __attribute__((always_inline)) {
    I32 words[4] = {none, none, none, none};
    for_each<(Channels + 3) / 4>([&](auto w) __attribute__((always_inline)) {
      constexpr int kRest = Channels - 4 * w;
      words[w] = quantized_word<(kRest < 4 ? kRest : 4)>(q, src + 4 * w * area + p, area, count);
    });
    side_by_side(words);
    store_sixteen(dst + p * pixel, pixel, written, count, words);
  });
  shared.nan = q.nan;
}

using QuantizeSixteen = decltype(&quantize_sixteen<1>);

// By number of channels.
inline QuantizeSixteen quantize_some(Index channels) {
  static constexpr auto kSome = []<int... C>(std::integer_sequence<int, C...>) {
    return std::array<QuantizeSixteen, sizeof...(C)>{quantize_sixteen<C + 1>...};
  }(std::make_integer_sequence<int, 16>{});
  return kSome[static_cast<std::size_t>(least(channels, 16) - 1)];
}

// Pixels [first, last) of any number of channels, `written` bytes of each.
void quantize_rows(Quantizer& q, const float* src, Index c, Index area, std::uint8_t* dst, Index pixel,
                   Index written, Index first, Index last) {
  for (Index k = 0; k < written; k += 16) {
    quantize_some(c - k)(q, src + k * area, area, dst + k, pixel, least(16, written - k), first, last);
  }
}

bool quantize_plain(const float* src, Index src_image, std::uint8_t* dst, Index image, Index pixel, Index c,
                    Index area, float scale, std::int32_t zero, std::int32_t low, std::int32_t high,
                    Index begin, Index end) {
  Quantizer q = quantizer(scale, zero, low, high);
  constexpr decltype(&quantize_quads<1>) kQuads[] = {quantize_quads<1>, quantize_quads<2>, quantize_quads<3>,
                                                     quantize_quads<4>};
  for_pixels(area, begin, end, [&](Index n, Index first, Index last) {
    const float* const in = src + n * src_image;
    std::uint8_t* const out = dst + n * image;
    if (c <= 4 && pixel == 4) {
      kQuads[c - 1](q, in, area, out, first, last);
    } else {
      quantize_rows(q, in, c, area, out, pixel, least(divide(c, 4) * 4, pixel), first, last);
    }
  });
  return met_nan(q);
}

// Channels k to k + kBlock of images in blocks: numbers of pixels.
struct AsTheyAre {
  static F32 of(F32 x, F32, F32) { return x; }
};
struct Scaled {
  static F32 of(F32 x, F32 factor, F32 shift) { return x * factor + shift; }
};
struct ScaledPositive {
  static F32 of(F32 x, F32 factor, F32 shift) { return max(splat(0.0f), x * factor + shift); }
};

// Pixels [first, last) of a block of channels, `count` of which are real.
template <class Change>
inline void quantize_block(Quantizer& shared, const float* from, F32 factor, F32 shift, std::uint8_t* to,
                           Index pixel, Index count, Index first, Index last) {
  Quantizer q = shared;  // in registers, which the bytes written cannot be
  const auto at = [&](Index p) { return Change::of(load(from + p * kBlock), factor, shift); };
  Index p = first;
  for (; count == kBlock && p + 4 <= last; p += 4) {
    const F32 x[] = {at(p), at(p + 1), at(p + 2), at(p + 3)};
    I32 levels[4];
    quantize_all<4>(q, x, levels);
    for (int j = 0; j < 4; ++j) store_bytes(to + (p + j) * pixel, levels[j]);
  }
  for (; p < last; ++p) store_some_bytes(to + p * pixel, quantized(q, at(p)), count);
  shared.nan = q.nan;
}

template <class Change>
bool quantize_blocks(const Int8Affine& affine, const float* src, Index src_image, std::uint8_t* dst,
                     Index image, Index pixel, Index c, Index area, float scale, std::int32_t zero,
                     std::int32_t low, std::int32_t high, Index begin, Index end) {
  Quantizer q = quantizer(scale, zero, low, high);
  const Index written = least(divide(c, 4) * 4, pixel);
  for_pixels(area, begin, end, [&](Index n, Index first, Index last) {
    std::uint8_t* const out = dst + n * image;
    for (Index k = 0; k < c; k += kBlock) {
      const F32 factor = affine.factors == nullptr ? F32{} : load(affine.factors + k);
      const F32 shift = affine.factors == nullptr ? F32{} : load(affine.shifts + k);
      quantize_block<Change>(q, src + n * src_image + k * area, factor, shift, out + k, pixel,
                             least(kBlock, c - k), first, last);
    }
    for (Index p = first; p < last; ++p) {
      for (Index k = c; k < written; ++k) out[p * pixel + k] = static_cast<std::uint8_t>(zero);
    }
  });
  return met_nan(q);
}

bool quantize_blocked(const float* src, Index src_image, std::uint8_t* dst, Index image, Index pixel, Index c,
                      Index area, float scale, std::int32_t zero, std::int32_t low, std::int32_t high,
                      Index begin, Index end) {
  return quantize_blocks<AsTheyAre>({}, src, src_image, dst, image, pixel, c, area, scale, zero, low, high,
                                    begin, end);
}

bool quantize_affine(const Int8Affine& affine, const float* src, Index src_image, std::uint8_t* dst,
                     Index image, Index pixel, Index c, Index area, float scale, std::int32_t zero,
                     std::int32_t low, std::int32_t high, Index begin, Index end) {
  const auto kernel = affine.relu ? quantize_blocks<ScaledPositive> : quantize_blocks<Scaled>;
  return kernel(affine, src, src_image, dst, image, pixel, c, area, scale, zero, low, high, begin, end);
}

template <class Body>
inline void with_sign(bool is_signed, Body body) {
  is_signed ? body(std::true_type{}) : body(std::false_type{});
}

void dequantize(const std::uint8_t* src, bool is_signed, float* dst, float scale, std::int32_t zero,
                Index begin, Index end) {
  with_sign(is_signed, [&](auto sign) {
    constexpr bool kSigned = decltype(sign)::value;
    const F32 step = splat(scale);
    const I32 zeros = splat(zero);
    Index i = begin;
    for (; i + kBlock <= end; i += kBlock) {
      store(dst + i, to_float(load_bytes<kSigned>(src + i) - zeros) * step);
    }
    if (i == end) return;
    store_some(dst + i, to_float(load_some_bytes<kSigned>(src + i, end - i) - zeros) * step, end - i);
  });
}

// Int8 values of up to 4 channels from words of kBlock pixels to planes `area` apart.
template <bool Signed>
inline void dequantize_word(I32 word, I32 zero, F32 scale, float* dst, Index area, Index channels,
                            Index count) {
  for_each<4>([&](auto i) {
    constexpr int kLevel = decltype(i)::value;
    if (kLevel >= channels) return;
    const F32 x = to_float(split<kLevel, Signed>(word) - zero) * scale;
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
    const F32 step = splat(scale);
    const I32 zeros = splat(zero);
    for_pixels(area, begin, end, [&](Index n, Index first, Index last) {
      const std::uint8_t* const in = src + n * image;
      float* const out = dst + n * dst_image;
      for (Index channel = 0; channel < c; channel += kWordBytes) {
        const Index count_words = least(kWords, divide(c - channel, 4));
        for (Index p = first; p < last; p += kBlock) {
          const Index count = least(kBlock, last - p);
          I32 words[kBlock] = {};
          if (pixel == 4 && count == kBlock) {  // a pixel is a word
            words[0] = load_some_words(in + p * pixel, kBlock);
          } else {
            for (Index j = 0; j < count; ++j) {
              words[j] = load_some_words(in + (p + j) * pixel + channel, count_words);
            }
            transpose(words);
          }
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
    const F32 step = splat(scale);
    const I32 zeros = splat(zero);
    for_pixels(area, begin, end, [&](Index n, Index first, Index last) {
      const std::uint8_t* const in = src + n * image;
      float* const out = dst + n * dst_image;
      for (Index k = 0; k < whole; k += kBlock) {
        for (Index p = first; p < last; ++p) {
          store(out + k * area + p * kBlock,
                to_float(load_bytes<kSigned>(in + p * pixel + k) - zeros) * step);
        }
      }
      if (whole == c) return;
      for (Index p = first; p < last; ++p) {
        const I32 levels = load_some_bytes<kSigned>(in + p * pixel + whole, c - whole);
        float* const to = out + whole * area + p * kBlock;
        store(to, splat(0.0f));
        store_some(to, to_float(levels - zeros) * step, c - whole);
      }
    });
  });
}

}  // namespace
}  // namespace rdquant::runtime::kernels
