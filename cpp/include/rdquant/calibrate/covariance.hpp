#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "rdquant/core/memory.hpp"

namespace rdquant::calibrate {

/// What a layer multiplies its weights with: patches of a two-dimensional convolution's input. A fully
/// connected layer is a convolution with a 1 × 1 kernel.
struct Patches {
  std::size_t channels = 0;
  std::size_t groups = 1;
  std::array<std::size_t, 2> kernel{1, 1};
  std::array<std::size_t, 2> strides{1, 1};
  std::array<std::size_t, 2> dilations{1, 1};
  std::array<std::size_t, 4> pads{};  ///< top, left, bottom, right

  /// Inputs of one output of a group: channels/groups × kernel, in this order.
  [[nodiscard]] std::size_t inputs() const noexcept { return channels / groups * kernel[0] * kernel[1]; }
};

/// First and second moments of a layer's inputs x over positions of images, one image after the other: memory
/// does not depend on how many there are. Every image counts the same, however many positions it has.
class Covariance {
 public:
  /// `positions`: at most so many are taken of an image, spread evenly over it; they differ from image to
  /// image.
  ///
  /// @throws InvalidArgument  sizes of 0, or groups that do not divide the channels.
  Covariance(const Patches& patches, std::size_t positions);

  /// Adds images [n, channels, height, width], row-major, on up to `threads` threads (0: all cores). The sums
  /// do not depend on the number of threads.
  ///
  /// @throws InvalidArgument  another number of values, or a kernel larger than the padded image.
  void add(std::span<const float> images, std::size_t n, std::size_t height, std::size_t width, int threads);

  [[nodiscard]] std::size_t images() const noexcept { return images_; }
  [[nodiscard]] const Patches& patches() const noexcept { return patches_; }
  /// E[x], [groups, inputs].
  [[nodiscard]] std::vector<double> mean() const;
  /// E[x·xᵀ], or where `centred` E[x·xᵀ] − E[x]·E[x]ᵀ: [groups, inputs, inputs].
  ///
  /// Shrunk towards its diagonal, C' = (1 − ρ)·C + ρ·diag(C), by the ρ of Ledoit and Wolf ("A
  /// well-conditioned estimator for large-dimensional covariance matrices", 2004) with images as the
  /// independent samples: where images are few against the inputs, what their covariance says beyond its
  /// diagonal is noise.
  ///
  /// @throws InvalidArgument  no image has been added.
  [[nodiscard]] core::Array<double> matrix(bool centred, int threads) const;
  /// ρ of each group, 0..1.
  [[nodiscard]] std::vector<double> shrinkage(bool centred) const;

 private:
  Patches patches_;
  std::size_t positions_;
  std::size_t images_ = 0;
  std::vector<double> sums_;      ///< [groups, inputs]
  core::Array<double> products_;  ///< [groups, inputs, inputs], the upper triangles
  std::vector<double> squares_;   ///< [groups]: Σ over images of Σ_{i≠j} (E_image[x_i·x_j])²
};

}  // namespace rdquant::calibrate
