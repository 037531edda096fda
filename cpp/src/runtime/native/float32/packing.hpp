#pragma once

#include <optional>

#include "runtime/kernels/float32/winograd/winograd.hpp"
#include "runtime/native/float32/convolution.hpp"

/// Weights and vectors in the layouts of our convolutions.
namespace rdquant::runtime::native {

/// Weights [k][channels][kh][kw] in the order of a plan of ours, which may have more channels per group than
/// there are: those get zeros.
class FilterPacker final : public Packer {
 public:
  FilterPacker(const kernels::Kernels& kernels, kernels::ConvPlan plan, kernels::Index channels, int threads)
      : kernels_(kernels), plan_(plan), channels_(channels), threads_(threads) {}
  void pack(const void* from, void* to) const override;

 private:
  const kernels::Kernels& kernels_;
  kernels::ConvPlan plan_;
  kernels::Index channels_;  ///< per group, of the weights given
  int threads_;
};

/// Weights in Winograd's domain.
class WinogradPacker final : public Packer {
 public:
  WinogradPacker(const kernels::Winograd& kernels, const kernels::WinogradPlan& plan, int threads)
      : kernels_(kernels), plan_(plan), threads_(threads) {}
  void pack(const void* from, void* to) const override;

 private:
  const kernels::Winograd& kernels_;
  kernels::WinogradPlan plan_;
  int threads_;
};

/// One number per channel, or one for all of them: zeros up to whole blocks.
[[nodiscard]] Place pack_vector(Builder& builder, program::ValueId id, std::int64_t channels);

/// How a method runs a shape; nullopt where it does not.
[[nodiscard]] std::optional<kernels::ConvPlan> plan_of(const kernels::ConvShape& shape,
                                                       kernels::ConvMethod method);

[[nodiscard]] inline std::size_t bytes_of(kernels::Index floats) {
  return static_cast<std::size_t>(floats) * sizeof(float);
}

}  // namespace rdquant::runtime::native
