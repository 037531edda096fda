#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

/// Levels of known distributions.

using Bytes = std::vector<std::uint8_t>;
using Shape = std::vector<std::uint64_t>;

inline std::size_t product(const Shape& shape) {
  std::size_t size = 1;
  for (const std::uint64_t d : shape) size *= static_cast<std::size_t>(d);
  return size;
}

inline std::vector<std::int32_t> laplace(std::size_t n, double scale, std::uint32_t seed) {
  std::mt19937 engine(seed);
  std::uniform_real_distribution<double> draw(1e-9, 1.0);
  std::vector<std::int32_t> levels(n);
  for (auto& v : levels) {
    const double magnitude = -scale * std::log(draw(engine));
    v = static_cast<std::int32_t>(std::lround(draw(engine) < 0.5 ? magnitude : -magnitude));
  }
  return levels;
}

/// Rows each of which is like some earlier ones, as classes are alike.
inline std::vector<std::int32_t> alike(std::size_t rows, std::size_t length, std::uint32_t seed) {
  auto levels = laplace(rows * length, 3.0, seed);
  std::mt19937 engine(seed);
  for (std::size_t row = 1; row < rows; ++row) {
    const std::int32_t* const other = levels.data() + engine() % row * length;
    for (std::size_t i = 0; i < length; ++i) levels[row * length + i] += other[i] * 3 / 4;
  }
  return levels;
}

/// Levels that the one before and the one a row above foretell in part, as smooth kernels do.
inline std::vector<std::int32_t> smooth(const Shape& shape, double scale, std::uint32_t seed) {
  std::vector<std::int32_t> levels = laplace(product(shape), scale, seed);
  const std::size_t row = levels.size() / shape[0];
  for (std::size_t i = row; i < levels.size(); ++i) levels[i] += (levels[i - 1] + levels[i - row]) / 2;
  return levels;
}

/// Levels as an integer type cuts them off at ±`reach`.
inline std::vector<std::int32_t> cut_off(std::size_t n, double scale, std::int32_t reach,
                                         std::uint32_t seed) {
  auto levels = laplace(n, scale, seed);
  for (auto& v : levels) v = std::clamp(v, -reach, reach);
  return levels;
}

/// Pruned levels: of every `rest` about one is left, at least `least` from `common`, up to `most`.
inline std::vector<std::int32_t> pruned(std::size_t n, std::uint32_t rest, std::int32_t least, double scale,
                                        std::int32_t common) {
  auto levels = laplace(n, scale, 11);
  std::mt19937 engine(12);
  for (auto& v : levels) {
    const std::int32_t beyond = v < 0 ? v - least : v + least;
    v = engine() % rest == 0 ? common + beyond : common;
  }
  return levels;
}
