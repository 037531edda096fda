#pragma once

#include <cstdint>
#include <vector>

/// Operations whose outputs lie between the elements of images, or among many of them.
namespace rdquant::program {

enum class ResizeMode : std::uint8_t { nearest, linear, cubic };
enum class Coordinates : std::uint8_t {
  half_pixel,
  half_pixel_symmetric,
  pytorch_half_pixel,
  align_corners,
  asymmetric,
  crop_and_resize
};
enum class Nearest : std::uint8_t { round_prefer_floor, round_prefer_ceil, floor, ceil };
struct Resize {
  ResizeMode mode = ResizeMode::nearest;
  Coordinates coordinates = Coordinates::half_pixel;
  Nearest nearest = Nearest::round_prefer_floor;
  std::vector<float> scales;  ///< per axis, output / input
  std::vector<float> roi;     ///< crop_and_resize: starts, then ends, per axis
  float cubic_coefficient = -0.75F, extrapolation = 0;
  bool exclude_outside = false, antialias = false;
};

enum class GridPadding : std::uint8_t { zeros, border, reflection };
/// Inputs: x [n, c, 1 to 3 sizes], grid [n, the output's sizes, axes], coordinates of −1 … 1 with the innermost axis
/// first. The ends are the centres of the outermost elements where `align_corners`, else their outer edges.
struct GridSample {
  ResizeMode mode = ResizeMode::linear;
  GridPadding padding = GridPadding::zeros;
  bool align_corners = false;
};

enum class RoiFunction : std::uint8_t { average, max, elements };
/// Inputs: x [n, c, h, w], regions [r, 4] (x1, y1, x2, y2) and their images i64 [r]; of elements [r, 5], image
/// first. Output: [r, c, bins along h, w]. Corners · scale − offset count elements. `samples`: per axis of a bin.
struct RoiPool {
  RoiFunction function = RoiFunction::average;
  float scale = 1, offset = 0;
  std::int64_t samples = 0;  ///< 0: by the size of bins
};

}  // namespace rdquant::program
