// Normalization. Included by one file per instruction set, which sets RDQUANT_KERNELS_ISA.
#include "runtime/kernels/float32/math.inl"
#include "runtime/kernels/float32/normalize/channels.inl"
#include "runtime/kernels/float32/normalize/tables.hpp"

namespace rdquant::runtime::kernels {
namespace {

// body(i, load, store) for every vector of n floats, the last one in part.
template <class Body>
[[gnu::always_inline]] inline void for_vectors(Index n, Body body) {
  Index i = 0;
  for (; i + kBlock <= n; i += kBlock) {
    body(i, [](const float* p) { return load(p); }, [](float* p, F32 x) { store(p, x); });
  }
  if (i == n) return;
  body(
      i, [=](const float* p) { return load_some(p, n - i); },
      [=](float* p, F32 x) { store_some(p, x, n - i); });
}

// Σ (x − mean)²; lanes past the end count nothing.
inline float squares(const float* x, Index n, float mean) {
  const F32 shift = splat(mean);
  F32 sums = splat(0.0f);
  Index i = 0;
  for (; i + kBlock <= n; i += kBlock) {
    const F32 d = load(x + i) - shift;
    sums = fma(d, d, sums);
  }
  float total = sum(sums);
  for (; i < n; ++i) total += (x[i] - mean) * (x[i] - mean);
  return total;
}

constexpr Index kPiece = 4096;  // floats that are added in single precision; their sums in double

// Σ x of n floats, where n may be large.
inline double sum_of(const float* x, Index n) {
  double total = 0;
  for (Index first = 0; first < n; first += kPiece) {
    F32 sums = splat(0.0f);
    for_vectors(n - first < kPiece ? n - first : kPiece,
                [&](Index i, auto get, auto) { sums = sums + get(x + first + i); });
    total += static_cast<double>(sum(sums));
  }
  return total;
}

inline double squares_of(const float* x, Index n, float mean) {
  double total = 0;
  for (Index first = 0; first < n; first += kPiece) {
    total += static_cast<double>(squares(x + first, n - first < kPiece ? n - first : kPiece, mean));
  }
  return total;
}

struct Scaling {
  float mean, factor;
};

// That gives n floats mean 0 and variance 1.
inline Scaling scaling_of(const float* x, Index n, float epsilon, bool root_mean_square) {
  const auto count = static_cast<double>(n);
  const float mean = root_mean_square ? 0.0f : static_cast<float>(sum_of(x, n) / count);
  const auto variance = static_cast<float>(squares_of(x, n, mean) / count);
  return {mean, 1.0f / __builtin_sqrtf(variance + epsilon)};
}

void layer(const LayerNormArgs& args, const float* src, float* dst, Index begin, Index end) {
  const Index n = args.length;
  for (Index row = begin; row < end; ++row) {
    const float* const x = src + row * n;
    float* const y = dst + row * n;
    const Scaling scaling = scaling_of(x, n, args.epsilon, args.root_mean_square);
    const F32 shift = splat(scaling.mean), factor = splat(scaling.factor);
    for_vectors(n, [&](Index i, auto get, auto put) {
      F32 z = (get(x + i) - shift) * factor;
      if (args.scale != nullptr) z = z * get(args.scale + i);
      if (args.bias != nullptr) z = z + get(args.bias + i);
      put(y + i, z);
    });
  }
}

void log_softmax(const float* src, float* dst, Index length, Index begin, Index end) {
  for (Index row = begin; row < end; ++row) {
    const float* const x = src + row * length;
    float top = x[0];
    for (Index i = 1; i < length; ++i) top = x[i] > top ? x[i] : top;
    const F32 most = splat(top);
    F32 sums = splat(0.0f);
    Index i = 0;
    for (; i + kBlock <= length; i += kBlock) sums = sums + exp(load(x + i) - most);
    float total = sum(sums);
    if (i < length) {
      float rest[kBlock];
      store(rest, exp(load_some(x + i, length - i) - most));
      for (Index j = 0; j < length - i; ++j) total += rest[j];
    }
    const F32 shift = splat(top + __builtin_logf(total));
    for_vectors(length,
                [&](Index j, auto get, auto put) { put(dst + row * length + j, get(x + j) - shift); });
  }
}

void log_softmax_columns(const float* src, float* dst, Index length, Index stride, Index begin, Index end) {
  for_vectors(end - begin, [&](Index c, auto get, auto put) {
    const float* const x = src + begin + c;
    float* const y = dst + begin + c;
    F32 top = get(x);
    for (Index a = 1; a < length; ++a) top = max(top, get(x + a * stride));
    F32 total = splat(0.0f);
    for (Index a = 0; a < length; ++a) total = total + exp(get(x + a * stride) - top);
    float lanes[kBlock];
    store(lanes, total);
    for (float& lane : lanes) lane = __builtin_logf(lane);
    const F32 shift = top + load(lanes);
    for (Index a = 0; a < length; ++a) put(y + a * stride, get(x + a * stride) - shift);
  });
}

// s^−beta
inline F32 inverse_power(F32 s, float beta) {
  if (beta == 0.75f) {
    const F32 root = sqrt(s);
    return splat(1.0f) / (root * sqrt(root));
  }
  if (beta == 0.5f) return splat(1.0f) / sqrt(s);
  if (beta == 1.0f) return splat(1.0f) / s;
  float lanes[kBlock];
  store(lanes, s);
  for (float& lane : lanes) lane = __builtin_powf(lane, -beta);
  return load(lanes);
}

void lrn(const LrnArgs& args, const float* src, float* dst, Index begin, Index end) {
  const F32 factor = splat(args.alpha / static_cast<float>(args.size));
  const F32 bias = splat(args.bias);
  const Index before = (args.size - 1) / 2, after = args.size - 1 - before;
  const Index first = begin * kBlock;
  const Index last = end * kBlock < args.area ? end * kBlock : args.area;
  for (Index channel = 0; channel < args.channels; ++channel) {
    const Index low = channel < before ? 0 : channel - before;
    const Index high = channel + after < args.channels ? channel + after : args.channels - 1;
    for_vectors(last - first, [&](Index i, auto get, auto put) {
      const float* const x = src + first + i;
      F32 sums = splat(0.0f);
      for (Index c = low; c <= high; ++c) {
        const F32 z = get(x + c * args.area);
        sums = fma(z, z, sums);
      }
      const Index at = channel * args.area;
      put(dst + first + i + at, get(x + at) * inverse_power(fma(sums, factor, bias), args.beta));
    });
  }
}

}  // namespace

namespace RDQUANT_KERNELS_ISA {
const Normalize normalize = {.block = kBlock,
                             .layer = layer,
                             .moments = moments,
                             .block_moments = block_moments,
                             .scale = scale,
                             .scale_blocks = scale_blocks,
                             .log_softmax = log_softmax,
                             .log_softmax_columns = log_softmax_columns,
                             .lrn = lrn};
}
}  // namespace rdquant::runtime::kernels
