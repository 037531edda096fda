#include "runtime/kernels/int8/kernels.hpp"

#include <array>

#include "runtime/kernels/int8/tables.hpp"
#include "simd/dispatch.hpp"

namespace rdquant::runtime::kernels {
namespace {

Int8Kernels joined(core::Isa isa, const char* name, const Int8ConvolutionTable& convolution) {
  const Int8LayerTable& layers = simd::variant(RDQUANT_VARIANTS(int8_layers), isa);
  return {.isa = isa,
          .name = name,
          .block = convolution.block,
          .plan = convolution.plan,
          .pack = convolution.pack,
          .convolve = convolution.run,
          .min_max = layers.min_max,
          .quantize = layers.quantize,
          .quantize_plain = layers.quantize_plain,
          .quantize_blocked = layers.quantize_blocked,
          .quantize_affine = layers.quantize_affine,
          .dequantize = layers.dequantize,
          .dequantize_plain = layers.dequantize_plain,
          .dequantize_blocked = layers.dequantize_blocked,
          .lookup = layers.lookup,
          .add = layers.add,
          .multiply = layers.multiply,
          .pool = layers.pool,
          .resize = layers.resize,
          .repeat = layers.repeat_channels,
          .compact = layers.compact,
          .taps = layers.gather_taps};
}

#if defined(__x86_64__)
// Tiles of AMX where they pay, else vectors.
Int8Plan plan_amx_or_vnni(const ConvShape& shape, Index threads) {
  return avx512amx::int8_amx.pays(shape, threads) ? avx512amx::int8_amx.plan(shape, threads)
                                                  : avx512vnni::int8_convolution.plan(shape, threads);
}

void pack_amx_or_vnni(const Int8Plan& plan, const std::int8_t* weights, std::byte* packed, Index begin,
                      Index end) {
  (plan.steps > 0 ? avx512amx::int8_amx.pack : avx512vnni::int8_convolution.pack)(plan, weights, packed,
                                                                                  begin, end);
}

void convolve_amx_or_vnni(const Int8Plan& plan, const Int8ConvArgs& args, Index begin, Index end) {
  (plan.steps > 0 ? avx512amx::int8_amx.run : avx512vnni::int8_convolution.run)(plan, args, begin, end);
}

void add_amx(Int8Kernels& kernels) {
  if (!core::has(core::Feature::amx_int8) || !core::has(core::Feature::vnni) || !core::request_amx()) return;
  kernels.plan = plan_amx_or_vnni;
  kernels.pack = pack_amx_or_vnni;
  kernels.convolve = convolve_amx_or_vnni;
}
#else
void add_amx(Int8Kernels& /*kernels*/) {}
#endif

Int8Kernels kernels_of(core::Isa isa) {
  const Int8ConvolutionTable& convolution = simd::variant(RDQUANT_VARIANTS(int8_convolution), isa);
  Int8Kernels kernels = joined(isa, core::isa_name(isa).data(), convolution);
  if (core::has(core::Feature::dotprod)) {
    kernels = joined(isa, "dotprod", RDQUANT_ARM_LEAF(dotprod, dotprod::int8_convolution, convolution));
    kernels.prefers_signed = true;
    return kernels;
  }
  if (isa != core::Isa::avx512) return kernels;
  // Beyond the common AVX-512: VNNI (Cascade Lake, Zen 4 and later), VBMI (Ice Lake, Zen 4).
  if (core::has(core::Feature::vnni)) {
    kernels = joined(isa, "avx512vnni", RDQUANT_LEAF(vnni, avx512vnni::int8_convolution, convolution));
    add_amx(kernels);
  }
  kernels.lookup = RDQUANT_LEAF(vbmi, avx512vbmi::lookup, kernels.lookup);
  return kernels;
}

}  // namespace

bool measures(const Activation& activation) {
  switch (activation.function) {
    case Function::none:
    case Function::relu:
      return true;
    case Function::clip:
      return activation.alpha <= 0.0F && activation.beta >= 0.0F;
    default:
      return false;
  }
}

const Int8Kernels& int8_kernels(core::Isa isa) {
  simd::require_available(isa);
  static const std::array<Int8Kernels, 3> all = {kernels_of(core::Isa::baseline), kernels_of(core::Isa::avx2),
                                                 kernels_of(core::Isa::avx512)};
  return all[static_cast<std::size_t>(isa)];
}

}  // namespace rdquant::runtime::kernels
