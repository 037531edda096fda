#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

/// Compression while training: what is done to a layer after each update of its weights (paper 002).
namespace rdquant::train {

/// Bits that mean "prune only": weights stay as they are in memory.
inline constexpr int kFloatBits = 32;

/// What prune_quantize did to a layer.
struct Pruned {
  double threshold = 0.0;    ///< β: magnitudes below it became 0
  double step = 0.0;         ///< q: what is left is a multiple of it; 0 where nothing was quantized
  std::int64_t nonzero = 0;  ///< weights other than 0 in the result
};

/// Prunes, then quantizes the weights W of one layer (paper 002, equations 1 to 4):
///
///     β = γ·std(W)      H = W where |W| ≥ β, else 0      q = (max|H| − β)/(2^(bits−1) − 1)      C =
///     q·round(H/q)
///
/// The scan of equation 4 has lost its brackets: ⌊H/q⌉ and ⌊H/q⌋ are both possible. It is rounding here, ties
/// to even: the error is at most q/2 and the same on both sides of zero. Floor would send every negative
/// weight to the level below it, an error of up to q and −q/2 on average at each step of the training, and
/// −0.1·q would become −q.
///
/// Defined to the bit:
/// - std is that of the population (divided by n), from d = W − W[0] in float64: σ² = (Σd² − (Σd)²/n)/n. Sums
///   run over blocks of 4096 values in memory order. In a block, lane j of 16 sums values j, j + 16, …; then
///   lanes j and j + 8 are added, j and j + 4, j + 2, j + 1; blocks are added in order.
/// - β and q are rounded to T, q from T's own β; H/q, its rounding and the product are arithmetic of T.
/// - No result is −0.
///
/// bits = 32 prunes only (C = H), and so does q = 0: where no weight survives, where all that survive have
/// magnitude β, and in a layer of zeros. An empty layer stays empty. One weight, or a constant layer, has β =
/// 0. Levels H/q reach max|H|/q, which is beyond 2^(bits−1) − 1 since they count from zero and not from β; at
/// most 2^(bits−1) magnitudes other than 0 occur.
///
/// `out` has the size of `weights`; it may be the same memory, or memory apart from it. The result depends on
/// neither the number of threads (0: all cores) nor the instruction set.
///
/// @throws InvalidArgument  γ is negative or not finite; bits are not in 2..32 (with 1, 2^0 − 1 levels are
/// none);
///   sizes differ; a weight is NaN or infinite, or so large that σ² overflows float64. `out` is then
///   untouched.
Pruned prune_quantize(std::span<const float> weights, double gamma, int bits, std::span<float> out,
                      int threads = 1);
Pruned prune_quantize(std::span<const double> weights, double gamma, int bits, std::span<double> out,
                      int threads = 1);

/// The weights of one layer and where results go.
template <typename T>
struct Layer {
  std::span<const T> weights;
  std::span<T> out;          ///< C; as above
  std::span<T> pruned = {};  ///< H, unless empty; may be the memory of `weights` too
  std::string name;          ///< what error messages begin with
};

/// The same for all layers of a network at once, each with its own β and q: two passes on `threads` threads,
/// however many layers there are. One result a layer.
///
/// @throws InvalidArgument  as above, for any of the layers; nothing has been written then.
std::vector<Pruned> prune_quantize(std::span<const Layer<float>> layers, double gamma, int bits,
                                   int threads = 1);
std::vector<Pruned> prune_quantize(std::span<const Layer<double>> layers, double gamma, int bits,
                                   int threads = 1);

}  // namespace rdquant::train
