#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "amx_emulation.hpp"
#include "conv_shapes.hpp"
#include "int8_reference.hpp"
#include "runtime/kernels/int8/tables.hpp"

/// The kernels under test, how they are run, and shapes to run them on.
namespace reference {

struct Set {
  std::string name;
  const Int8ConvolutionTable* table;
};

#if defined(__x86_64__)
namespace with_amx {

namespace k = rdquant::runtime::kernels;

// Tiles for every shape that they can run, whether or not they pay.
inline Int8Plan plan(const ConvShape& shape, Index threads) {
  const Int8Plan tiles = k::avx512amx::int8_amx.plan(shape, threads);
  return tiles.steps > 0 ? tiles : k::avx512vnni::int8_convolution.plan(shape, threads);
}
inline void pack(const Int8Plan& plan, const std::int8_t* weights, std::byte* packed, Index begin,
                 Index end) {
  (plan.steps > 0 ? k::avx512amx::int8_amx.pack : k::avx512vnni::int8_convolution.pack)(plan, weights, packed,
                                                                                        begin, end);
}
inline void run(const Int8Plan& plan, const Int8ConvArgs& args, Index begin, Index end) {
  (plan.steps > 0 ? k::avx512amx::int8_amx.run : k::avx512vnni::int8_convolution.run)(plan, args, begin, end);
}

inline const Int8ConvolutionTable table = {16, plan, pack, run};

}  // namespace with_amx
#endif

// Every set of instructions that this processor runs; tiles of AMX are emulated where it lacks them.
inline std::vector<Set> sets() {
  namespace k = rdquant::runtime::kernels;
  std::vector<Set> all = {{"baseline", &k::baseline::int8_convolution}};
#if defined(__aarch64__)
  if (rdquant::core::available_cpu().has(rdquant::core::Feature::dotprod))
    all.push_back({"dotprod", &k::dotprod::int8_convolution});
#endif
#if defined(__x86_64__)
  using rdquant::core::Isa;
  const Isa best = rdquant::core::available_isa();
  if (best >= Isa::avx2) all.push_back({"avx2", &k::avx2::int8_convolution});
  if (best >= Isa::avx512) all.push_back({"avx512", &k::avx512::int8_convolution});
  if (rdquant::core::available_cpu().has(rdquant::core::Feature::vnni)) {
    all.push_back({"avx512vnni", &k::avx512vnni::int8_convolution});
  }
  if (amx::available()) all.push_back({"avx512amx", &with_amx::table});
#endif
  return all;
}

// Packs in two ranges and runs in three, in disorder.
inline void run(const Int8ConvolutionTable& table, const Data& data, Int8ConvArgs args) {
  const Case& test = data.test;
  const Int8Plan plan = table.plan(data.s, 1 + data.s.h % 3);
  std::vector<std::byte> memory(at(plan.bytes) + 64, std::byte{0x55});
  std::byte* const packed = memory.data() + (64 - reinterpret_cast<std::uintptr_t>(memory.data()) % 64) % 64;
  std::vector<std::byte> scratch(at(plan.scratch) + 64);
  args.scratch = scratch.data() + (64 - reinterpret_cast<std::uintptr_t>(scratch.data()) % 64) % 64;
  const Index middle = plan.pack_items / 2;
  table.pack(plan, data.weights.data(), packed, middle, plan.pack_items);
  table.pack(plan, data.weights.data(), packed, 0, middle);
  args.src = data.src.data();
  args.src_image = data.image;
  args.src_pixel = data.pixel;
  args.src_signed = test.src_signed;
  args.src_zero = test.src_zero;
  args.weights = packed;
  args.bias = test.bias ? data.bias.data() : nullptr;
  args.epilogue.multipliers = data.multipliers.data();
  args.epilogue.multiplier = test.multiplier;
  args.epilogue.float_bias = test.float_bias ? data.float_bias.data() : nullptr;
  args.epilogue.activation = test.activation;
  args.epilogue.activation.slopes = data.slopes.data();
  args.epilogue.scale = test.scale;
  const Index first = plan.items / 3;
  const Index second = plan.items - plan.items / 4;
  table.run(plan, args, second, plan.items);
  table.run(plan, args, 0, first);
  table.run(plan, args, first, second);
}

}  // namespace reference
