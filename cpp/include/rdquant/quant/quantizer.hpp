#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <variant>
#include <vector>

/// Scalar quantizers of thesis 004, chapter 2. A quantizer is plain data; `quantize` and `dequantize` are the
/// two functions on it. Levels are signed int32; what a level stands for is stated at each quantizer.
namespace rdquant::quant {

/// Uniform quantizer with a dead zone, equations 2.25 and 2.26, with the thesis' midtread (2.21, 2.22; δ = ½)
/// and midrise (2.23, 2.24; δ = 0) as special cases:
///
///     level = 0                        if |x| < δ·Δ
///           = sign(x)·⌈|x|/Δ − δ⌉      otherwise
///     x̂     = sign(level)·Δ·(|level| + δ − ½), and 0 for level 0
///
/// Both lines are evaluated in double precision, δ − ½ first; x̂ is rounded to float32. A tie |x| = (k + δ)·Δ
/// goes to level k, towards zero. sign(0) = 0: an exact zero keeps level 0 with every δ.
struct Uniform {
  double step = 1.0;       ///< Δ, within float32's normal range
  double delta = 0.5;      ///< δ in [0, 1)
  std::int32_t limit = 0;  ///< greatest |level|, larger ones are clipped; 0: no limit
};

/// µ-law companding, equations 2.27 and 2.28: y = X·ln(1 + µ|x|/X)/ln(1 + µ)·sign(x) is quantized by midtread
/// with the given step; x̂ = (X/µ)·((1 + µ)^(|ŷ|/X) − 1)·sign(ŷ). Evaluated in double precision.
struct MuLaw {
  double mu = 255.0;       ///< µ > 0
  double range = 1.0;      ///< X > 0
  double step = 1.0;       ///< Δ on the compressed axis
  std::int32_t limit = 0;  ///< as in Uniform
};

/// Small floating-point format, equation 2.30. `ieee == false`: normalized numbers only,
/// (−1)^s·2^(e − bias)·(1 + m/2^mantissa) for every e in [0, 2^exponent): no zero, subnormals, infinities or
/// NaN; level = ±(1 + code), code = e·2^mantissa + m. `ieee == true`: with zero and subnormals, the topmost e
/// reserved, as IEEE half and bfloat16; level = ±code. Rounds to nearest, ties to even code; saturates at the
/// largest value and, without subnormals, at the smallest one (where zero goes, as positive).
struct Minifloat {
  int exponent = 4;  ///< bits of e, 0..8
  int mantissa = 3;  ///< bits of m, 0..22
  int bias = 7;      ///< such that every number is a normal float32
  bool ieee = false;
};

/// Nearest of the given reconstruction values; level = index. A tie goes to the lower value.
struct Codebook {
  std::vector<float> values;  ///< finite, strictly increasing, 1..2^16 of them
};

using Quantizer = std::variant<Uniform, MuLaw, Minifloat, Codebook>;

/// Checks a quantizer's parameters.
///
/// @throws InvalidArgument  a parameter is outside the ranges above.
void validate(const Quantizer& quantizer);

/// levels[i] = level of x[i]. `levels` has the size of `x`.
///
/// @throws InvalidArgument  some x[i] is NaN or infinite, or its level does not fit int32; names the first
/// such index
///                          plus `offset`, for callers that pass an array in pieces.
void quantize(const Quantizer& quantizer, std::span<const float> x, std::span<std::int32_t> levels,
              std::size_t offset = 0);

/// x[i] = value that levels[i] stands for.
///
/// @throws InvalidArgument  a level that the quantizer cannot have produced (Minifloat, Codebook).
void dequantize(const Quantizer& quantizer, std::span<const std::int32_t> levels, std::span<float> x,
                std::size_t offset = 0);

/// The same for an array of shape (outer, channels, inner) with one quantizer a channel, channels =
/// quantizers.size(); one quantizer serves the whole array. Up to `threads` threads, 0: all cores. `reused`
/// says that the output memory has been written before: a large one is then written around the caches, which
/// is faster there and slower on fresh pages.
///
/// @throws InvalidArgument  the size of x is no multiple of channels·inner; as above otherwise.
void quantize_channels(std::span<const Quantizer> quantizers, std::size_t inner, std::span<const float> x,
                       std::span<std::int32_t> levels, int threads = 1, bool reused = false);
void dequantize_channels(std::span<const Quantizer> quantizers, std::size_t inner,
                         std::span<const std::int32_t> levels, std::span<float> x, int threads = 1);

/// A run of neighbours that share a quantizer: elements [begin, end) of the array.
struct Run {
  std::size_t channel;
  std::size_t begin;
  std::size_t end;
};

/// The runs of an array of `size` elements seen as (outer, channels, inner), none longer than `longest`.
///
/// @throws InvalidArgument  size is no multiple of channels·inner.
[[nodiscard]] std::vector<Run> runs_of(std::size_t size, std::size_t channels, std::size_t inner,
                                       std::size_t longest);

/// Reconstruction values that minimise Σ(x − x̂)² for at most `count` levels: Lloyd's algorithm on the sorted
/// values, started from the companding density p^(1/3) (Panter and Dite, 1951), until a round gains less than
/// 1e-7 of the error or `rounds` are done. Fewer values come back where x has fewer distinct ones.
///
/// @throws InvalidArgument  x is empty or not finite, or count is outside 1..2^16.
[[nodiscard]] Codebook lloyd_max(std::span<const float> x, int count, int rounds = 200);

/// The bias, smallest first, with which a normalized-only Minifloat of the given widths has the least Σ(x −
/// x̂)².
///
/// @throws InvalidArgument  x is empty or not finite, or a width is outside Minifloat's ranges.
[[nodiscard]] int best_bias(std::span<const float> x, int exponent, int mantissa);

}  // namespace rdquant::quant
