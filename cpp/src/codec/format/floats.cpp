#include "rdquant/codec/floats.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

#include "codec/format/bits.hpp"
#include "codec/mixing/binary_coder.hpp"
#include "rdquant/core/error.hpp"

namespace rdquant::codec {
namespace {

enum FloatMethod : std::uint8_t { kRaw, kSplit, kPalette };

constexpr std::size_t kMostPatterns = 4096;
constexpr int kMostOctaves = 11;  // of levels above Δ: |level| < 2^12

struct FloatLayout {
  int exponent;  // bits
  int mantissa;
};
FloatLayout layout_of(FloatType type) {
  if (type == FloatType::f16) return {5, 10};
  if (type == FloatType::bf16) return {8, 7};
  return {8, 23};
}

/// The bit patterns of a tensor.
std::vector<std::uint32_t> patterns_of(std::span<const std::uint8_t> bytes, std::size_t width) {
  std::vector<std::uint32_t> patterns(bytes.size() / width);
  for (std::size_t i = 0; i < patterns.size(); ++i) {
    std::uint32_t v = 0;
    for (std::size_t b = 0; b < width; ++b) v |= static_cast<std::uint32_t>(bytes[i * width + b]) << (8 * b);
    patterns[i] = v;
  }
  return patterns;
}
void store(std::span<std::uint8_t> bytes, std::size_t i, std::size_t width, std::uint32_t pattern) {
  for (std::size_t b = 0; b < width; ++b)
    bytes[i * width + b] = static_cast<std::uint8_t>(pattern >> (8 * b));
}

/// Exponent field of a Δ of about an eighth of the mean magnitude.
int delta_field(const std::vector<std::uint32_t>& patterns, const FloatLayout& layout) {
  const int bias = (1 << (layout.exponent - 1)) - 1;
  const int top = (1 << layout.exponent) - 1;
  double sum = 0.0, count = 0.0;
  for (const std::uint32_t v : patterns) {
    const int e = static_cast<int>(v >> layout.mantissa) & top;
    if (e == 0 || e == top) continue;
    const double fraction = v & ((1U << layout.mantissa) - 1);
    sum += std::ldexp(1.0 + std::ldexp(fraction, -layout.mantissa), e - bias);
    count += 1.0;
  }
  if (count == 0.0) return 1;
  return std::clamp(std::ilogb(sum / count) - 3 + bias, 1, top - 1);
}

struct SplitFloat {
  std::int32_t level;
  int exponent;
  std::uint32_t significand;
  bool negative;
};

SplitFloat split(std::uint32_t pattern, const FloatLayout& layout, int k) {
  SplitFloat n;
  n.exponent = static_cast<int>(pattern >> layout.mantissa) & ((1 << layout.exponent) - 1);
  n.significand = pattern & ((1U << layout.mantissa) - 1);
  n.negative = ((pattern >> (layout.mantissa + layout.exponent)) & 1) != 0;
  const int octave = n.exponent - k;
  n.level = 0;
  if (octave >= 0 && octave <= std::min(kMostOctaves, layout.mantissa)) {
    n.level =
        static_cast<std::int32_t>(((1U << layout.mantissa) | n.significand) >> (layout.mantissa - octave));
    if (n.negative) n.level = -n.level;
  }
  return n;
}

std::vector<std::uint8_t> encode_split(const std::vector<std::uint32_t>& patterns,
                                       std::span<const std::uint64_t> shape, FloatType type, Profile profile,
                                       int threads) {
  const FloatLayout layout = layout_of(type);
  const int k = delta_field(patterns, layout);
  std::uint32_t all = 1U << layout.mantissa;
  int octaves = 0;  // above Δ: their bits are the level's, and cannot be left out as zeros
  for (const std::uint32_t v : patterns) {
    all |= v & ((1U << layout.mantissa) - 1);
    const SplitFloat n = split(v, layout, k);
    if (n.level != 0) octaves = std::max(octaves, n.exponent - k);
  }
  const int zeros = std::min(std::countr_zero(all), layout.mantissa - octaves);
  std::vector<std::int32_t> levels(patterns.size());
  BinaryEncoder exponents;
  AdaptiveInteger coder;
  Writer low;
  BitWriter bits(low);
  for (std::size_t i = 0; i < patterns.size(); ++i) {
    const SplitFloat n = split(patterns[i], layout, k);
    levels[i] = n.level;
    int width = layout.mantissa;
    if (n.level == 0) {
      coder.encode(exponents, k - n.exponent);
      bits.add(n.negative ? 1 : 0, 1);
    } else {
      width -= n.exponent - k;
    }
    width -= zeros;
    bits.add((n.significand >> zeros) & ((1U << width) - 1), width);
  }
  bits.finish();
  Writer out;
  out.byte(static_cast<std::uint8_t>(kSplit * 16 + static_cast<int>(type)));
  out.byte(static_cast<std::uint8_t>(k));
  out.byte(static_cast<std::uint8_t>(zeros));
  out.block(encode_levels(levels, shape, LevelType::i32, profile, threads));
  out.block(exponents.finish());
  out.append(low.take());
  return out.take();
}

void decode_split(Reader& in, FloatType type, std::span<std::uint8_t> values, int threads) {
  const FloatLayout layout = layout_of(type);
  const std::size_t width = float_bytes(type), count = values.size() / width;
  const int k = in.byte(), zeros = in.byte();
  if (k >= (1 << layout.exponent)) in.fail("exponent " + std::to_string(k));
  if (zeros > layout.mantissa) in.fail("zero bits " + std::to_string(zeros));
  const auto coded = in.block();
  if (levels_header(coded).size != count) in.fail("another number of values than expected");
  std::vector<std::int32_t> levels(count);
  decode_levels(coded, levels, threads);
  BinaryDecoder exponents(in.block());
  AdaptiveInteger coder;
  CheckedBits bits(in);
  for (std::size_t i = 0; i < count; ++i) {
    int exponent = k, left = layout.mantissa - zeros;
    std::uint32_t significand = 0;
    bool negative = levels[i] < 0;
    if (levels[i] == 0) {
      exponent = static_cast<int>(k - static_cast<std::int64_t>(coder.decode(exponents)));
      if (exponent < 0 || exponent >= (1 << layout.exponent)) in.fail("exponent " + std::to_string(exponent));
      negative = bits.next(1) != 0;
    } else {
      const auto magnitude =
          static_cast<std::uint32_t>(negative ? -static_cast<std::int64_t>(levels[i]) : levels[i]);
      const int octave = std::bit_width(magnitude) - 1;
      exponent += octave;
      left -= octave;
      if (left < 0 || exponent >= (1 << layout.exponent)) in.fail("level " + std::to_string(levels[i]));
      significand = (magnitude & ~(1U << octave)) << (layout.mantissa - octave);
    }
    significand |= bits.next(left) << zeros;
    store(values, i, width,
          (negative ? 1U << (layout.mantissa + layout.exponent) : 0U) |
              (static_cast<std::uint32_t>(exponent) << layout.mantissa) | significand);
  }
  in.finish();
}

/// Bit patterns in rising order, empty where there are more than kMostPatterns.
std::vector<std::uint32_t> palette_of(const std::vector<std::uint32_t>& patterns) {
  // A small sample is enough to recognise most tensors of many patterns.
  std::vector<std::uint32_t> sorted(
      patterns.begin(), patterns.begin() + static_cast<std::ptrdiff_t>(
                                               std::min<std::size_t>(patterns.size(), 4 * kMostPatterns)));
  const auto shrink = [&] {
    std::sort(sorted.begin(), sorted.end());
    sorted.erase(std::unique(sorted.begin(), sorted.end()), sorted.end());
  };
  shrink();
  for (std::size_t i = 4 * kMostPatterns; i < patterns.size() && sorted.size() <= kMostPatterns;
       i += kMostPatterns) {
    const std::size_t end = std::min(i + kMostPatterns, patterns.size());
    sorted.insert(sorted.end(), patterns.begin() + static_cast<std::ptrdiff_t>(i),
                  patterns.begin() + static_cast<std::ptrdiff_t>(end));
    shrink();
  }
  if (sorted.size() > kMostPatterns || 4 * sorted.size() > patterns.size()) sorted.clear();
  return sorted;
}

/// Indices into the palette.
std::vector<std::uint8_t> encode_palette(const std::vector<std::uint32_t>& patterns,
                                         const std::vector<std::uint32_t>& palette,
                                         std::span<const std::uint64_t> shape, FloatType type,
                                         Profile profile, int threads) {
  std::vector<std::int32_t> indices(patterns.size());
  for (std::size_t i = 0; i < patterns.size(); ++i) {
    const auto at = std::lower_bound(palette.begin(), palette.end(), patterns[i]);
    indices[i] = static_cast<std::int32_t>(at - palette.begin());
  }
  Writer out;
  out.byte(static_cast<std::uint8_t>(kPalette * 16 + static_cast<int>(type)));
  out.varint(palette.size());
  std::uint32_t last = 0;
  for (const std::uint32_t p : palette) {
    out.varint(p - last);
    last = p;
  }
  out.append(encode_levels(indices, shape, LevelType::i32, profile, threads));
  return out.take();
}

void decode_palette(Reader& in, FloatType type, std::span<std::uint8_t> values, int threads) {
  const std::size_t width = float_bytes(type), count = values.size() / width;
  std::vector<std::uint32_t> palette(static_cast<std::size_t>(in.bounded(kMostPatterns, "palette of")));
  std::uint64_t last = 0;
  for (std::uint32_t& p : palette) {
    last += in.bounded(0xffffffffU, "pattern");
    if (last >> (8 * width) != 0) in.fail("a pattern beyond the type");
    p = static_cast<std::uint32_t>(last);
  }
  const auto coded = in.rest();
  if (levels_header(coded).size != count) in.fail("another number of values than expected");
  std::vector<std::int32_t> indices(count);
  decode_levels(coded, indices, threads);
  for (std::size_t i = 0; i < count; ++i) {
    const auto at = static_cast<std::uint32_t>(indices[i]);
    if (at >= palette.size()) in.fail("index " + std::to_string(indices[i]));
    store(values, i, width, palette[at]);
  }
}

}  // namespace

std::size_t float_bytes(FloatType type) noexcept {
  if (type == FloatType::f64) return 8;
  return type == FloatType::f32 ? 4 : 2;
}

std::vector<std::uint8_t> encode_floats(std::span<const std::uint8_t> values,
                                        std::span<const std::uint64_t> shape, FloatType type, Profile profile,
                                        int threads) {
  std::uint64_t size = 1;
  for (const std::uint64_t d : shape) size *= d;
  core::require(size * float_bytes(type) == values.size(),
                "the shape has another number of elements than the values");
  std::vector<std::uint8_t> best;
  if (type != FloatType::f64 && size > 0) {
    const auto patterns = patterns_of(values, float_bytes(type));
    best = encode_split(patterns, shape, type, profile, threads);
    const auto palette = palette_of(patterns);
    if (!palette.empty()) {
      auto other = encode_palette(patterns, palette, shape, type, profile, threads);
      if (other.size() < best.size()) best = std::move(other);
    }
  }
  if (!best.empty() && best.size() < values.size() + 2) return best;
  Writer out;
  out.byte(static_cast<std::uint8_t>(kRaw * 16 + static_cast<int>(type)));
  out.varint(size);
  out.append(values);
  return out.take();
}

void decode_floats(std::span<const std::uint8_t> bytes, FloatType type, std::span<std::uint8_t> values,
                   int threads) {
  Reader in(bytes, "floats");
  const std::uint8_t first = in.byte();
  if ((first & 15) != static_cast<int>(type))
    in.fail("type " + std::to_string(first & 15) + ", another was expected");
  if (first >> 4 == kRaw) {
    if (in.varint() != values.size() / float_bytes(type)) in.fail("another number of values than expected");
    const auto raw = in.rest();
    if (raw.size() != values.size()) in.fail("values cut off or too many");
    std::copy(raw.begin(), raw.end(), values.begin());
    return;
  }
  if (type == FloatType::f64) in.fail("float64 is stored as it is");
  if (first >> 4 == kSplit) {
    decode_split(in, type, values, threads);
  } else if (first >> 4 == kPalette) {
    decode_palette(in, type, values, threads);
  } else {
    in.fail("unknown method " + std::to_string(first >> 4));
  }
}

}  // namespace rdquant::codec
