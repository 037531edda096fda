#pragma once

#include <cstddef>
#include <cstdint>

/// One loop per quantizer, compiled once per instruction set (kernels_*.cpp). The source is the same and
/// rounds the same way everywhere (no contraction), so every variant gives the same levels as `baseline`, bit
/// for bit.
namespace rdquant::quant {

struct UniformArgs {
  double step;
  double inverse;  ///< 1/step, rounded to nearest
  double delta;
  double limit;  ///< greatest |level| as a double
};

struct MuLawArgs {
  double mu_over_range;
  double scale;  ///< 1/(step·ln(1 + µ)/range): compressed value in steps = ln(1 + µ|x|/X)·scale
  double limit;
};

struct MinifloatArgs {
  int shift;            ///< mantissa bits of float32 that are dropped
  std::int32_t offset;  ///< code of the format's smallest number in float32's own coding
  std::int32_t most;    ///< greatest code
};

/// A kernel writes n levels and returns whether every input was finite with a level that fits int32.
struct Kernels {
  bool (*uniform)(const float* x, std::int32_t* levels, std::size_t n, const UniformArgs& args);
  bool (*mulaw)(const float* x, std::int32_t* levels, std::size_t n, const MuLawArgs& args);
  bool (*minifloat)(const float* x, std::int32_t* levels, std::size_t n, const MinifloatArgs& args);
  void (*uniform_dequantize)(const std::int32_t* levels, float* x, std::size_t n, const UniformArgs& args);
  void (*stream)(const std::int32_t* from, std::int32_t* to, std::size_t lines);
  void (*stream_end)();  ///< must follow `stream` before another thread reads what it wrote
};

/// The kernels of core::selected_isa().
const Kernels& selected_kernels();

namespace baseline {
extern const Kernels kernels;
}
namespace avx2 {
extern const Kernels kernels;
}
namespace avx512 {
extern const Kernels kernels;
}

}  // namespace rdquant::quant
