#include "runtime/kernels/int8/kernels.hpp"

#include <string>

#include "rdquant/core/error.hpp"
#include "runtime/kernels/int8/tables.hpp"

namespace rdquant::runtime::kernels {
namespace {

Int8Kernels join(core::Isa isa, const char* name, const Int8ConvolutionTable& convolution,
                 const Int8LayerTable& layers) {
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
          .dequantize = layers.dequantize,
          .dequantize_plain = layers.dequantize_plain,
          .dequantize_blocked = layers.dequantize_blocked,
          .lookup = layers.lookup,
          .add = layers.add,
          .multiply = layers.multiply,
          .pool = layers.pool,
          .resize = layers.resize};
}

#if defined(__x86_64__)
/// With what lies beyond the common AVX-512: VNNI (Cascade Lake, Zen 4 and later), VBMI (Ice Lake, Zen 4).
Int8Kernels best_avx512() {
  const bool vnni = __builtin_cpu_supports("avx512vnni") != 0;
  Int8Kernels kernels =
      vnni ? join(core::Isa::avx512, "avx512vnni", avx512vnni::int8_convolution, avx512::int8_layers)
           : join(core::Isa::avx512, "avx512", avx512::int8_convolution, avx512::int8_layers);
  if (__builtin_cpu_supports("avx512vbmi") != 0) kernels.lookup = avx512vbmi::lookup;
  return kernels;
}
#endif

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
  if (isa > core::available_isa()) {
    throw core::InvalidArgument("kernels for " + std::string(core::isa_name(isa)) +
                                " asked: this processor offers " +
                                std::string(core::isa_name(core::available_isa())));
  }
#if defined(__x86_64__)
  static const Int8Kernels avx2_kernels =
      join(core::Isa::avx2, "avx2", avx2::int8_convolution, avx2::int8_layers);
  if (isa == core::Isa::avx512) {
    static const Int8Kernels avx512_kernels = best_avx512();
    return avx512_kernels;
  }
  if (isa == core::Isa::avx2) return avx2_kernels;
#endif
  static const Int8Kernels baseline_kernels =
      join(core::Isa::baseline, "baseline", baseline::int8_convolution, baseline::int8_layers);
  return baseline_kernels;
}

}  // namespace rdquant::runtime::kernels
