#include <doctest/doctest.h>

#include <bit>
#include <cstring>
#include <random>
#include <span>
#include <string>

#include "int8_layer_reference.hpp"
#include "rdquant/codec/container.hpp"
#include "rdquant/codec/levels.hpp"
#include "rdquant/quant/quantizer.hpp"
#include "runtime/kernels/int8/tables.hpp"

// Integers are the same on every instruction set and every processor: checksums of what kernels for int8, quantizers
// and the coder of levels make were taken once, and hold on x86-64 and on 64-bit ARM alike.

using namespace reference;
namespace codec = rdquant::codec;
namespace quant = rdquant::quant;

namespace {

std::uint32_t checksum(const void* data, std::size_t bytes, std::uint32_t before = 0) {
  return codec::crc32({static_cast<const std::uint8_t*>(data), bytes}, before);
}
template <class T>
std::uint32_t checksum(const std::vector<T>& x, std::uint32_t before = 0) {
  return checksum(x.data(), x.size() * sizeof(T), before);
}

struct Layer {
  ConvShape s;
  bool src_signed, dst_signed, table, residual;
};

ConvShape conv(Index c, Index h, Index w, Index k, Index kernel, Index stride, Index groups) {
  ConvShape s;
  s.c = c;
  s.h = h;
  s.w = w;
  s.k = k;
  s.kh = s.kw = kernel;
  s.sh = s.sw = stride;
  s.top = s.left = s.bottom = s.right = kernel / 2;
  s.groups = groups;
  return s;
}

std::uint32_t run(const Int8ConvolutionTable& table, const Layer& layer) {
  const ConvShape& s = layer.s;
  const Levels src = random_levels(s.h * s.w * s.c + 64, 1);
  const Levels bytes = random_levels(s.k * s.c / s.groups * s.kh * s.kw, 2);
  const std::vector<std::int8_t> weights(bytes.begin(), bytes.end());
  const Levels residual = random_levels(s.oh() * s.ow() * s.k + 64, 3);
  const Levels entries = random_levels(256, 4);
  const Index padded = divide(s.k, 16) * 16;
  std::vector<std::int32_t> bias(at(padded));
  Floats multipliers(at(padded));
  for (Index k = 0; k < s.k; ++k) {
    bias[at(k)] = static_cast<std::int32_t>(977 * k % 20001) - 10000;
    multipliers[at(k)] = static_cast<float>(64 + k % 29) * 0x1p-20f;
  }
  const Int8Plan plan = table.plan(s, 1);
  std::vector<std::byte> memory(at(plan.bytes) + 64);
  std::byte* const packed = memory.data() + (64 - std::bit_cast<std::uintptr_t>(memory.data()) % 64) % 64;
  table.pack(plan, weights.data(), packed, 0, plan.pack_items);
  Levels dst(at(s.oh() * s.ow() * s.k));
  Int8ConvArgs args;
  args.src = src.data();
  args.src_image = s.h * s.w * s.c;
  args.src_pixel = s.c;
  args.src_signed = layer.src_signed;
  args.src_zero = layer.src_signed ? -7 : 131;
  args.weights = packed;
  args.bias = bias.data();
  args.dst = dst.data();
  args.dst_image = s.oh() * s.ow() * s.k;
  args.dst_pixel = s.k;
  Int8Epilogue& f = args.epilogue;
  f.multipliers = multipliers.data();
  f.zero = layer.dst_signed ? -9 : 117;
  f.low = layer.dst_signed ? -120 : 3;
  f.high = layer.dst_signed ? 127 : 250;
  f.table = layer.table ? entries.data() : nullptr;
  f.residual = layer.residual ? residual.data() : nullptr;
  f.residual_image = args.dst_image;
  f.residual_pixel = s.k;
  f.sum = {0.73f, 0.41f, 100, 7, 12, 0, 254, layer.dst_signed, true};
  table.run(plan, args, 0, plan.items);
  return checksum(dst);
}

/// Two-sided geometric levels, from integers alone.
std::vector<std::int32_t> some_levels(std::size_t n, unsigned seed) {
  std::mt19937 generator(seed);
  std::vector<std::int32_t> levels(n);
  for (std::int32_t& level : levels) {
    const auto bits = static_cast<std::uint32_t>(generator());
    level = std::countr_zero(bits | 0x100U) * ((bits >> 31) != 0 ? -1 : 1) +
            static_cast<std::int32_t>(bits >> 16 & 1);
  }
  return levels;
}

}  // namespace

TEST_CASE("convolutions of int8") {
  const Layer layers[] = {{conv(64, 9, 11, 48, 1, 1, 1), false, false, false, false},
                          {conv(19, 12, 10, 33, 3, 1, 1), true, true, false, true},
                          {conv(3, 21, 17, 24, 3, 2, 1), false, false, true, false},
                          {conv(40, 10, 13, 40, 3, 1, 40), false, true, true, true},
                          {conv(24, 14, 14, 24, 5, 2, 24), true, false, false, false},
                          {conv(24, 7, 7, 36, 3, 1, 4), true, false, true, true}};
  std::vector<std::pair<const char*, const Int8ConvolutionTable*>> sets = {
      {"baseline", &baseline::int8_convolution}};
#if defined(__aarch64__)
  if (rdquant::core::available_cpu().has(rdquant::core::Feature::dotprod))
    sets.emplace_back("dotprod", &dotprod::int8_convolution);
#elif defined(__x86_64__)
  const rdquant::core::Cpu& cpu = rdquant::core::available_cpu();
  if (cpu.isa() >= Isa::avx2) sets.emplace_back("avx2", &avx2::int8_convolution);
  if (cpu.isa() >= Isa::avx512) sets.emplace_back("avx512", &avx512::int8_convolution);
  if (cpu.has(rdquant::core::Feature::vnni)) sets.emplace_back("avx512vnni", &avx512vnni::int8_convolution);
#endif
  const std::uint32_t expected[] = {2429707794, 742271769, 122646537, 3637677654, 2292920307, 4264501187};
  for (const auto& [name, table] : sets) {
    CAPTURE(std::string(name));
    for (std::size_t i = 0; i < std::size(layers); ++i) {
      CAPTURE(i);
      CHECK(run(*table, layers[i]) == expected[i]);
    }
  }
}

TEST_CASE("layers of int8") {
  Floats x(10000);
  std::mt19937 generator(9);
  for (float& v : x) v = static_cast<float>(static_cast<std::int32_t>(generator())) * 0x1p-29f;
  const Levels a = random_levels(10064, 5), b = random_levels(10064, 6);
  for_every_isa([&](const Int8LayerTable& table, Index) {
    Levels y(10064);
    table.quantize(x.data(), y.data(), 0.0173f, 117, 3, 250, 0, 10000);
    CHECK(checksum(y) == 2643006111);
    Floats z(10000);
    table.dequantize(a.data(), true, z.data(), 0.0173f, -9, 0, 10000);
    CHECK(checksum(z) == 638269722);
    const Int8Sum sum = {0.73f, 0.41f, 100, 7, 12, 0, 254, false, true};
    table.add(sum, a.data(), b.data(), y.data(), 0, 10000);
    CHECK(checksum(y) == 302354797);
    table.multiply({0.013f, 1.0f, 100, 7, 12, 0, 254, false, true}, a.data(), b.data(), y.data(), 0, 10000);
    CHECK(checksum(y) == 2708445559);
    PoolShape s;
    s.c = 37;
    s.h = s.w = 16;
    s.kh = s.kw = 3;
    s.top = s.left = s.bottom = s.right = 1;
    s.oh = s.ow = 16;
    Int8Kernels::PoolArgs args;
    args.src = a.data();
    args.src_image = 256 * 37;
    args.src_pixel = args.dst_pixel = 37;
    args.dst = y.data();
    args.dst_image = 256 * 37;
    args.scale = 0.83f;
    args.src_zero = 100;
    args.zero = 90;
    table.pool(s, args, 0, 16);
    CHECK(checksum(y) == 3392283995);
    s.average = true;
    table.pool(s, args, 0, 16);
    CHECK(checksum(y) == 274060563);
  });
}

TEST_CASE("quantizers") {
  Floats x(20000);
  std::mt19937 generator(11);
  for (float& v : x) v = static_cast<float>(static_cast<std::int32_t>(generator())) * 0x1p-31f;
  const quant::Quantizer quantizers[] = {quant::Uniform{0.0123, 0.1, 0}, quant::Uniform{0x1p-7, 0.5, 40},
                                         quant::MuLaw{255.0, 1.0, 2.0 / 255.0, 127},
                                         quant::Minifloat{4, 3, 15, false}};
  std::uint32_t sum = 0;
  for (const quant::Quantizer& q : quantizers) {
    std::vector<std::int32_t> levels(x.size());
    quant::quantize(q, x, levels);
    sum = checksum(levels, sum);
    Floats back(x.size());
    if (!std::holds_alternative<quant::MuLaw>(q)) {  // whose values come from the system's pow
      quant::dequantize(q, levels, back);
      sum = checksum(back, sum);
    }
  }
  CHECK(sum == 1355394627);
}

TEST_CASE("coded levels") {
  const std::vector<std::uint64_t> shapes[] = {{40, 30, 3, 3}, {300, 100}, {70000}};
  for (const codec::Profile profile : {codec::Profile::fast, codec::Profile::max}) {
    std::uint32_t sum = 0;
    for (const auto& shape : shapes) {
      std::size_t n = 1;
      for (const std::uint64_t side : shape) n *= side;
      const std::vector<std::uint8_t> bytes =
          codec::encode_levels(some_levels(n, 13), shape, codec::LevelType::i32, profile);
      sum = checksum(bytes, sum);
    }
    CHECK(sum == (profile == codec::Profile::fast ? 3179466820 : 217441436));
  }
}
