// Arrays with one quantizer a channel, cut into runs of neighbours that share one.
#include <algorithm>
#include <array>

#include "quant/kernels.hpp"
#include "rdquant/core/error.hpp"
#include "rdquant/core/parallel.hpp"
#include "rdquant/core/stream.hpp"
#include "rdquant/quant/quantizer.hpp"

namespace rdquant::quant {
namespace {

constexpr std::size_t kLongestRun = std::size_t{1} << 18;
constexpr std::size_t kGrain = std::size_t{1} << 16;  // elements per thread, at least
constexpr std::size_t kPiece = 512;  // levels that wait in the cache while the next values come in

// Calls body(run) for all runs, sharing them out in the order of the array.
template <typename Body>
void for_runs(std::size_t size, std::size_t channels, std::size_t inner, int threads, const Body& body) {
  const std::vector<Run> runs = runs_of(size, channels, inner, kLongestRun);
  if (runs.empty()) return;
  const std::size_t grain = std::max<std::size_t>(1, kGrain / std::max<std::size_t>(1, size / runs.size()));
  core::parallel_for(runs.size(), grain, threads, [&](std::size_t begin, std::size_t end) {
    for (std::size_t r = begin; r < end; ++r) body(runs[r]);
  });
}

// Levels of one run, written around the caches in whole cache lines.
void quantize_streaming(const Quantizer& quantizer, std::span<const float> x, std::span<std::int32_t> levels,
                        std::size_t offset) {
  alignas(64) std::array<std::int32_t, kPiece> piece;
  const Kernels& kernels = selected_kernels();
  const std::size_t misaligned = reinterpret_cast<std::uintptr_t>(levels.data()) / sizeof(std::int32_t) % 16;
  std::size_t at = std::min(x.size(), (16 - misaligned) % 16);
  quantize(quantizer, x.first(at), levels.first(at), offset);
  for (; at + kPiece <= x.size(); at += kPiece) {
    core::prefetch(x.data() + at + kPiece, std::min(kPiece, x.size() - at - kPiece));
    quantize(quantizer, x.subspan(at, kPiece), piece, offset + at);
    kernels.stream(piece.data(), levels.data() + at, kPiece / 16);
  }
  kernels.stream_end();
  quantize(quantizer, x.subspan(at), levels.subspan(at), offset + at);
}

}  // namespace

std::vector<Run> runs_of(std::size_t size, std::size_t channels, std::size_t inner, std::size_t longest) {
  core::require(channels > 0, "at least one quantizer is needed");
  if (channels == 1) inner = size;
  if (size == 0) return {};
  core::require(inner > 0 && size % (channels * inner) == 0,
                "the size of x must be a multiple of channels times inner");
  std::vector<Run> runs;
  runs.reserve(size / inner);
  for (std::size_t begin = 0; begin < size; begin += inner) {
    for (std::size_t at = begin; at < begin + inner; at += longest) {
      runs.push_back(
          {.channel = begin / inner % channels, .begin = at, .end = std::min(at + longest, begin + inner)});
    }
  }
  return runs;
}

void quantize_channels(std::span<const Quantizer> quantizers, std::size_t inner, std::span<const float> x,
                       std::span<std::int32_t> levels, int threads, bool reused) {
  core::require(levels.size() == x.size(), "levels must have as many elements as x");
  const bool stream = reused && levels.size_bytes() >= core::kStreamBytes;
  for_runs(x.size(), quantizers.size(), inner, threads, [&](const Run& run) {
    const std::size_t n = run.end - run.begin;
    const auto write = stream && n >= kPiece ? quantize_streaming : quantize;
    write(quantizers[run.channel], x.subspan(run.begin, n), levels.subspan(run.begin, n), run.begin);
  });
}

void dequantize_channels(std::span<const Quantizer> quantizers, std::size_t inner,
                         std::span<const std::int32_t> levels, std::span<float> x, int threads) {
  core::require(levels.size() == x.size(), "x must have as many elements as levels");
  for_runs(x.size(), quantizers.size(), inner, threads, [&](const Run& run) {
    const std::size_t n = run.end - run.begin;
    dequantize(quantizers[run.channel], levels.subspan(run.begin, n), x.subspan(run.begin, n), run.begin);
  });
}

}  // namespace rdquant::quant
