#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "runtime/native/float32/packing.hpp"

/// Transposed convolutions by phases: outputs whose places leave the same rest when divided by the stride are a
/// convolution of stride 1 with those taps that meet them.
namespace rdquant::runtime::native {

/// Along one axis: outputs first, first + stride, … (`count` of them) are a convolution with `taps`, in the order
/// of that convolution, less its first `skip` results; zeros where there are no taps.
struct AxisPhase {
  kernels::Index first = 0, count = 0, dilation = 1, before = 0, after = 0, skip = 0;
  std::vector<kernels::Index> taps;
};

/// Sizes along one axis.
struct AxisSizes {
  kernels::Index in, out, kernel, stride, dilation, pad;
};

/// Those that have outputs.
[[nodiscard]] std::vector<AxisPhase> phases_of(const AxisSizes& sizes);

/// One convolution of the decomposition.
struct Phase {
  AxisPhase rows, columns;
  std::optional<kernels::ConvPlan> plan;  ///< none where no tap meets an output
  kernels::Index weights = 0;             ///< where its packed weights begin, floats
};

/// All phases as one convolution, which has the filters of each, one phase after the other, and the taps of the one
/// that has most: where filters are so few that each phase alone would leave most lanes empty.
struct JoinedPhases {
  kernels::ConvPlan plan;
  kernels::Index top = 0, left = 0;  ///< its first result has the outputs from top·stride − pad, … on
};

/// Transposed convolutions of images as convolutions.
struct Phases {
  kernels::ConvShape whole;  ///< sizes of the input and of the kernel; k of the result
  kernels::Index oh = 1, ow = 1;
  std::vector<Phase> all;
  kernels::Index weights = 0;                         ///< floats of all packed weights
  std::optional<JoinedPhases> joined = std::nullopt;  ///< in place of a plan for each phase

  /// Floats that a run needs for itself.
  [[nodiscard]] kernels::Index scratch() const;
  /// Weights [c][k / groups][kh][kw] in the order of the kernels.
  void pack(const float* w, float* packed, int threads) const;
  /// x and y in blocks; bias may be null.
  void run(const float* x, const float* packed, const float* bias, const kernels::Activation& activation,
           float* y, float* scratch, int threads) const;

 private:
  void run_joined(const float* x, const float* packed, const float* bias,
                  const kernels::Activation& activation, float* y, float* scratch, int threads) const;
  /// Row `row` of a phase, of the block of channels whose plane begins at y, from the joined convolution's image.
  void spread_row(const Phase& phase, kernels::Index row, kernels::Index block, const float* image,
                  float* y) const;
};

/// Results of `oh` rows and `ow` columns; nullopt where our kernels lack one of the convolutions.
[[nodiscard]] std::optional<Phases> decompose(const kernels::ConvShape& whole, kernels::Index oh,
                                              kernels::Index ow);

/// What outputs are that no tap meets: ⌈k / block⌉ whole blocks.
void fill_untouched(const float* bias, const kernels::Activation& activation, kernels::Index k,
                    float* values);

/// Lowers a transposed convolution over three axes; false, and nothing added, for others.
bool build_transposed_volume(Builder& builder, const program::Step& step);

}  // namespace rdquant::runtime::native
