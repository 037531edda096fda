#include "rdquant/calibrate/covariance.hpp"

#include <algorithm>
#include <cmath>
#include <string>

#include "rdquant/core/error.hpp"
#include "rdquant/core/parallel.hpp"
#include "rdquant/linalg/product.hpp"

namespace rdquant::calibrate {
namespace {

constexpr std::size_t kSummed = 64;    // rows of a covariance that are summed together
constexpr std::size_t kMirrored = 32;  // rows and columns of a block that is mirrored within the cache

/// Positions of the outputs that an image is sampled at.
struct Grid {
  std::size_t height = 0, width = 0;
  std::vector<std::size_t> chosen;
};

std::size_t extent(std::size_t size, std::size_t before, std::size_t after, std::size_t kernel,
                   std::size_t stride, std::size_t dilation, const char* axis) {
  const std::size_t padded = size + before + after, reach = (kernel - 1) * dilation + 1;
  if (padded < reach) {
    throw core::InvalidArgument(std::string("calibration: the kernel reaches over ") + std::to_string(reach) +
                                " values, the padded image has a " + axis + " of " + std::to_string(padded));
  }
  return (padded - reach) / stride + 1;
}

/// Evenly spaced positions, shifted from image to image by the golden ratio: a low-discrepancy sequence.
std::vector<std::size_t> sample_positions(std::size_t count, std::size_t most, std::size_t image) {
  std::vector<std::size_t> chosen;
  const std::size_t n = std::min(count, most);
  chosen.reserve(n);
  constexpr double kGolden = 0.6180339887498949;
  const double shift = n == count ? 0.0 : std::fmod(kGolden * static_cast<double>(image), 1.0);
  const double step = static_cast<double>(count) / static_cast<double>(n);
  for (std::size_t i = 0; i < n; ++i) {
    const auto at = static_cast<std::size_t>((static_cast<double>(i) + shift) * step);
    chosen.push_back(std::min(at, count - 1));
  }
  return chosen;
}

/// Patches of group `g` of one image, [positions, inputs].
void gather(const Patches& p, const Grid& grid, std::size_t height, std::size_t width, const float* image,
            std::size_t g, float* out) {
  const std::size_t each = p.channels / p.groups;
  const float* const planes = image + g * each * height * width;
  for (const std::size_t position : grid.chosen) {
    const std::size_t top = position / grid.width * p.strides[0], left = position % grid.width * p.strides[1];
    for (std::size_t c = 0; c < each; ++c) {
      const float* const plane = planes + c * height * width;
      for (std::size_t y = 0; y < p.kernel[0]; ++y) {
        const std::size_t row = top + y * p.dilations[0] - p.pads[0];  // wraps above the image: too large
        for (std::size_t x = 0; x < p.kernel[1]; ++x) {
          const std::size_t col = left + x * p.dilations[1] - p.pads[1];
          *out++ = row < height && col < width ? plane[row * width + col] : 0.0F;
        }
      }
    }
  }
}

/// Rows [first, last) of the upper triangle of x·xᵀ, one image's mean, from its patches: [last − first, inputs].
void second_moments(std::span<const float> patches, std::size_t inputs, std::size_t first, std::size_t last,
                    std::span<float> products) {
  const std::size_t count = patches.size() / inputs;
  std::fill(products.begin(), products.end(), 0.0F);
  linalg::multiply({patches.data() + first, inputs, patches.data() + first, inputs, count, last - first,
                    inputs - first, 1.0F / static_cast<float>(count), products.data() + first, inputs});
}

/// Sums over images of one group: of x, of the upper triangle of x·xᵀ, and of the squares of what an image adds
/// to it off the diagonal.
struct GroupSums {
  double* first;
  double* second;
  double* squares;
};

/// Adds one image's patches [count, inputs].
void add_patches(std::span<const float> patches, std::size_t inputs, const GroupSums& sums, int threads) {
  const std::size_t count = patches.size() / inputs, blocks = (inputs + kSummed - 1) / kSummed;
  for (std::size_t t = 0; t < count; ++t) {
    for (std::size_t i = 0; i < inputs; ++i) {
      sums.first[i] += static_cast<double>(patches[t * inputs + i]) / static_cast<double>(count);
    }
  }
  std::vector<double> squares(blocks);
  core::parallel_for(blocks, 1, threads, [&](std::size_t begin, std::size_t end) {
    std::vector<float> products(kSummed * inputs);
    for (std::size_t block = begin; block < end; ++block) {
      const std::size_t first = block * kSummed, last = std::min(inputs, first + kSummed);
      second_moments(patches, inputs, first, last, products);
      for (std::size_t i = first; i < last; ++i) {
        const float* const row = products.data() + (i - first) * inputs;
        double* const total = sums.second + i * inputs;
        for (std::size_t j = i; j < inputs; ++j) {
          const double value = row[j];
          total[j] += value;
          if (j > i) squares[block] += 2.0 * value * value;
        }
      }
    }
  });
  for (const double square : squares) *sums.squares += square;
}

}  // namespace

Covariance::Covariance(const Patches& patches, std::size_t positions)
    : patches_(patches), positions_(positions) {
  const auto zero = [](const auto& sizes) { return std::ranges::find(sizes, 0U) != sizes.end(); };
  if (patches.channels == 0 || patches.groups == 0 || patches.channels % patches.groups != 0 ||
      zero(patches.kernel) || zero(patches.strides) || zero(patches.dilations) || positions == 0) {
    throw core::InvalidArgument(
        "calibration: expected sizes of at least 1 and groups that divide the channels, got " +
        std::to_string(patches.channels) + " channels in " + std::to_string(patches.groups) + " groups, " +
        std::to_string(positions) + " positions");
  }
  const std::size_t inputs = patches.inputs();
  sums_.resize(patches.groups * inputs);
  products_ = core::Array<double>(patches.groups * inputs * inputs);
  squares_.resize(patches.groups);
}

void Covariance::add(std::span<const float> images, std::size_t n, std::size_t height, std::size_t width,
                     int threads) {
  const std::size_t size = patches_.channels * height * width, inputs = patches_.inputs();
  if (images.size() != n * size) {
    throw core::InvalidArgument("calibration: expected " + std::to_string(n) + " × " +
                                std::to_string(patches_.channels) + " × " + std::to_string(height) + " × " +
                                std::to_string(width) + " values, got " + std::to_string(images.size()));
  }
  Grid grid;
  const Patches& p = patches_;
  grid.height = extent(height, p.pads[0], p.pads[2], p.kernel[0], p.strides[0], p.dilations[0], "height");
  grid.width = extent(width, p.pads[1], p.pads[3], p.kernel[1], p.strides[1], p.dilations[1], "width");
  for (std::size_t image = 0; image < n; ++image, ++images_) {
    grid.chosen = sample_positions(grid.height * grid.width, positions_, images_);
    const float* const pixels = images.data() + image * size;
    const auto add_group = [&](std::size_t g, int workers) {
      std::vector<float> patches(grid.chosen.size() * inputs);
      gather(p, grid, height, width, pixels, g, patches.data());
      const GroupSums sums{sums_.data() + g * inputs, products_.data() + g * inputs * inputs,
                           squares_.data() + g};
      add_patches(patches, inputs, sums, workers);
    };
    if (p.groups == 1) {
      add_group(0, threads);
    } else {
      core::parallel_for(p.groups, 8, threads, [&](std::size_t begin, std::size_t end) {
        for (std::size_t g = begin; g < end; ++g) add_group(g, 1);
      });
    }
  }
}

std::vector<double> Covariance::mean() const {
  std::vector<double> out = sums_;
  for (double& value : out) value /= static_cast<double>(std::max<std::size_t>(1, images_));
  return out;
}

std::vector<double> Covariance::shrinkage(bool centred) const {
  const std::size_t inputs = patches_.inputs();
  const double n = static_cast<double>(std::max<std::size_t>(1, images_));
  const std::vector<double> means = mean();
  std::vector<double> out;
  for (std::size_t g = 0; g < patches_.groups; ++g) {
    const double* const total = products_.data() + g * inputs * inputs;
    const double* const m = means.data() + g * inputs;
    double moments = 0.0, apart = 0.0;  // Σ_{i≠j} of squared second moments, and of what stays of them
    for (std::size_t i = 0; i < inputs; ++i) {
      for (std::size_t j = i + 1; j < inputs; ++j) {
        const double value = total[i * inputs + j] / n, kept = value - (centred ? m[i] * m[j] : 0.0);
        moments += 2.0 * value * value;
        apart += 2.0 * kept * kept;
      }
    }
    const double noise = (squares_[g] / n - moments) / n;  // the variances of the second moments, summed
    out.push_back(inputs == 1 ? 0.0 : (apart > 0.0 ? std::clamp(noise / apart, 0.0, 1.0) : 1.0));
  }
  return out;
}

core::Array<double> Covariance::matrix(bool centred, int threads) const {
  if (images_ == 0) throw core::InvalidArgument("calibration: no image has been added");
  const std::size_t inputs = patches_.inputs();
  const double n = static_cast<double>(images_);
  const std::vector<double> weight = shrinkage(centred), means = mean();
  core::Array<double> out(products_.size());
  const std::size_t blocks = (inputs + kMirrored - 1) / kMirrored;
  core::parallel_for(patches_.groups * blocks, 1, threads, [&](std::size_t begin, std::size_t end) {
    for (std::size_t block = begin; block < end; ++block) {
      const std::size_t g = block / blocks, first = block % blocks * kMirrored;
      const double* const total = products_.data() + g * inputs * inputs;
      const double* const m = means.data() + g * inputs;
      double* const to = out.data() + g * inputs * inputs;
      // Blocks at and right of the diagonal, each with its mirror image, while it is in the cache.
      for (std::size_t column = first; column < inputs; column += kMirrored) {
        for (std::size_t i = first; i < std::min(inputs, first + kMirrored); ++i) {
          for (std::size_t j = std::max(i, column); j < std::min(inputs, column + kMirrored); ++j) {
            const double value = total[i * inputs + j] / n - (centred ? m[i] * m[j] : 0.0);
            const double kept = i == j ? std::max(0.0, value) : (1.0 - weight[g]) * value;
            to[i * inputs + j] = kept;
            to[j * inputs + i] = kept;
          }
        }
      }
    }
  });
  return out;
}

}  // namespace rdquant::calibrate
