// INT8 on 64-bit ARM, for counts of executed instructions: getppid() marks what lies between two calls of it.
//
//   count_arm shape SIZE CHANNELS FILTERS KERNEL    one convolution, stride 1, padding KERNEL / 2, of int8
//   count_arm network MODEL.onnx INPUT OUTPUT       a network on one thread; INPUT: float32, OUTPUT: float64 of all outputs
//
// A convolution's integers are compared with the definition: exit status 1 where they differ.
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "rdquant/core/error.hpp"
#include "rdquant/model/session.hpp"
#include "runtime/kernels/int8/kernels.hpp"

namespace {

using namespace rdquant;
using namespace rdquant::runtime::kernels;

constexpr int kRuns = 3;

std::uint32_t seed = 1;
int next_byte() {
  seed = seed * 1664525U + 1013904223U;
  return static_cast<int>(seed >> 24) - 128;
}

struct Layer {
  ConvShape s;
  std::vector<std::uint8_t> src, dst;
  std::vector<std::int8_t> weights;
  std::vector<std::int32_t> bias;
  std::vector<float> multipliers;
};

int expected(const Layer& l, Index y, Index x, Index k, const Int8ConvArgs& a) {
  const ConvShape& s = l.s;
  std::int32_t sum = l.bias[static_cast<std::size_t>(k)];
  for (Index ky = 0; ky < s.kh; ++ky)
    for (Index kx = 0; kx < s.kw; ++kx) {
      const Index row = y + ky - s.top, column = x + kx - s.left;
      if (row < 0 || column < 0 || row >= s.h || column >= s.w) continue;
      for (Index c = 0; c < s.c; ++c) {
        const auto q =
            static_cast<std::int8_t>(l.src[static_cast<std::size_t>((row * s.w + column) * s.c + c)]);
        sum +=
            (q - a.src_zero) * l.weights[static_cast<std::size_t>(((k * s.c + c) * s.kh + ky) * s.kw + kx)];
      }
    }
  const float scaled = static_cast<float>(sum) * l.multipliers[static_cast<std::size_t>(k)];
  const long level = std::lrintf(scaled) + a.epilogue.zero;
  return static_cast<int>(std::min(127L, std::max(-128L, level)));
}

int shape(Index size, Index channels, Index filters, Index kernel) {
  Layer l;
  ConvShape& s = l.s;
  s.n = 1, s.c = channels, s.h = s.w = size, s.k = filters, s.kh = s.kw = kernel;
  s.top = s.left = s.bottom = s.right = kernel / 2;
  const auto pixels = static_cast<std::size_t>(size * size);
  l.src.resize(pixels * static_cast<std::size_t>(channels) + 64);
  l.dst.resize(pixels * static_cast<std::size_t>(filters) + 64);
  l.weights.resize(static_cast<std::size_t>(filters * channels * kernel * kernel));
  for (auto& x : l.src) x = static_cast<std::uint8_t>(next_byte());
  for (auto& x : l.weights) x = static_cast<std::int8_t>(next_byte());
  const float size_of_sums = std::sqrt(static_cast<float>(channels * kernel * kernel));
  for (Index k = 0; k < filters + 64; ++k) {
    l.bias.push_back(k < filters ? 50 * next_byte() : 0);
    l.multipliers.push_back(0.01F / size_of_sums * (1.0F + 0.01F * static_cast<float>(k)));
  }
  const Int8Kernels& kernels = int8_kernels(core::selected_isa());
  const Int8Plan plan = kernels.plan(s, 1);
  auto* const packed =
      static_cast<std::byte*>(std::aligned_alloc(64, static_cast<std::size_t>(plan.bytes + 127) / 64 * 64));
  kernels.pack(plan, l.weights.data(), packed, 0, plan.pack_items);
  Int8ConvArgs a;
  a.src = l.src.data(), a.src_pixel = channels, a.src_image = size * size * channels;
  a.src_signed = true, a.src_zero = -3, a.weights = packed, a.bias = l.bias.data();
  a.dst = l.dst.data(), a.dst_pixel = filters, a.dst_image = size * size * filters;
  a.epilogue.multipliers = l.multipliers.data();
  a.epilogue.zero = 5, a.epilogue.low = -128, a.epilogue.high = 127;
  (void)getppid();
  for (int i = 0; i < kRuns; ++i) {
    kernels.convolve(plan, a, 0, plan.items);
    (void)getppid();
  }
  Index others = 0;
  for (Index i = 0; i < size * size * filters; ++i) {
    const auto level = static_cast<std::int8_t>(l.dst[static_cast<std::size_t>(i)]);
    others += level != expected(l, i / filters / size, i / filters % size, i % filters, a);
  }
  std::free(packed);
  std::printf("%s %lld multiply-accumulates, %lld of %lld differ\n", kernels.name,
              static_cast<long long>(size * size * filters * channels * kernel * kernel),
              static_cast<long long>(others), static_cast<long long>(size * size * filters));
  return others == 0 ? 0 : 1;
}

core::Tensor read(const graph::ValueInfo& input, const char* path) {
  core::Shape shape;
  for (const graph::Dimension& d : input.shape) shape.push_back(d.size.value_or(1));
  core::Tensor x(core::DType::f32, shape);
  std::ifstream file(path, std::ios::binary);
  file.read(reinterpret_cast<char*>(x.write().as<float>()), static_cast<std::streamsize>(x.size() * 4));
  if (!file) throw core::InvalidArgument(std::string(path) + ": too few bytes for the input");
  return x;
}

int network(const char* model, const char* input, const char* output) {
  runtime::Options options;
  options.threads = 1;
  model::Session session(model, "native", options);
  const core::Tensor x = read(session.inputs().at(0), input);
  std::vector<core::Tensor> y = session.run({&x, 1});
  y = session.run({&x, 1});
  (void)getppid();
  for (int i = 0; i < kRuns; ++i) {
    y = session.run({&x, 1});
    (void)getppid();
  }
  std::ofstream file(output, std::ios::binary);
  for (const core::Tensor& one : y) {
    const std::vector<double> values = one.doubles();
    file.write(reinterpret_cast<const char*>(values.data()), static_cast<std::streamsize>(values.size() * 8));
  }
  return file ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) try {
  const auto number = [&](int i) { return static_cast<Index>(std::atoll(argv[i])); };
  const std::string mode = argc > 1 ? argv[1] : "";
  if (mode == "shape" && argc == 6) return shape(number(2), number(3), number(4), number(5));
  if (mode == "network" && argc == 5) return network(argv[2], argv[3], argv[4]);
  throw core::InvalidArgument(
      "usage: count_arm shape SIZE CHANNELS FILTERS KERNEL | network MODEL INPUT OUTPUT");
} catch (const core::Error& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 2;
}
