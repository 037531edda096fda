#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "codec/rans/streams.hpp"
#include "rdquant/codec/table_stream.hpp"

using namespace rdquant::codec;

namespace {

enum class Mean { zero, bias, above, all };

class Random {
 public:
  explicit Random(unsigned seed) : engine_(seed) {}
  std::int32_t within(std::int32_t least, std::int32_t most) {
    return std::uniform_int_distribution<std::int32_t>(least, most)(engine_);
  }
  double laplace(double mean) {
    const double magnitude = std::exponential_distribution<double>(1.0 / mean)(engine_);
    return within(0, 1) == 0 ? magnitude : -magnitude;
  }

 private:
  std::mt19937 engine_;
};

Model some_model(Random& random, const Grid& grid, Mean mean) {
  Model model;
  model.grid = grid;
  model.window = random.within(1, 3) == 1 ? 1 : random.within(2, random.within(1, 4) == 1 ? 255 : 20);
  model.closed = random.within(0, 1) == 0;
  model.shape = random.within(0, kShapes - 1);
  model.dead = random.within(0, 1) == 0 ? 0 : 2 * random.within(-4, 11);
  const std::int32_t base = random.within(0, 50), spread = random.within(0, 1) * random.within(0, 12);
  for (std::size_t i = 0; i < grid.rows; ++i) model.row_scales.push_back(base + random.within(0, spread));
  for (std::size_t i = 0; i < grid.cols; ++i) model.col_scales.push_back(random.within(-spread, spread));
  for (std::size_t i = 0; i < grid.taps; ++i) model.tap_scales.push_back(random.within(-spread, spread) / 2);
  if (mean == Mean::zero) return model;
  for (std::size_t t = 0; t < grid.taps; ++t) {
    Predictor p;
    p.bias = random.within(-100, 100);
    if (mean != Mean::bias) p.up = random.within(-40, 60);
    if (mean == Mean::all) {
      for (std::size_t j = 0; j < std::min<std::size_t>(t, 3); ++j) p.past.push_back(random.within(-20, 20));
    }
    model.predictors.push_back(p);
  }
  return model;
}

std::vector<std::int32_t> some_levels(Random& random, const Model& model) {
  const auto scales = slice_scales(model, 0, model.grid.rows);
  std::vector<std::int32_t> levels(model.grid.size());
  for (std::size_t q = 0; q < model.grid.slices(); ++q) {
    for (std::size_t t = 0; t < model.grid.taps; ++t) {
      const Prediction p = prediction_at(model, scales.get(), q, t, levels.data());
      auto residual = static_cast<std::int32_t>(random.laplace(2048.0 / p.multiplier));
      if (model.closed) residual = std::clamp(residual, -model.window, model.window);
      levels[q * model.grid.taps + t] = std::clamp(rounded(p.mean) + residual, -kReach, kReach);
    }
  }
  return levels;
}

}  // namespace

TEST_CASE("levels of any model come back from any number of streams") {
  Random random(9);
  for (int trial = 0; trial < 600; ++trial) {
    const Grid grid{static_cast<std::size_t>(random.within(1, 90)),
                    static_cast<std::size_t>(random.within(32, 70)),
                    static_cast<std::size_t>(random.within(0, 3) == 0 ? random.within(2, 9) : 1)};
    const Model model = some_model(random, grid, static_cast<Mean>(trial % 4));
    const std::vector<std::int32_t> levels = some_levels(random, model);
    const Tables tables(model);
    for (const std::size_t streams : {1U, 8U, 16U, 32U}) {
      CAPTURE(trial);
      CAPTURE(streams);
      const CodedRows coded = encode_rows(tables, 0, grid.rows, streams, levels.data());
      Reader excess(coded.excess, "excess"), in(coded.bytes, "levels");
      std::vector<std::int32_t> decoded(levels.size());
      decode_rows(tables, 0, grid.rows, streams, excess, in, decoded.data());
      REQUIRE(decoded == levels);
    }
  }
}

TEST_CASE("models come back as they were written") {
  Random random(10);
  for (int trial = 0; trial < 2000; ++trial) {
    const Grid grid{static_cast<std::size_t>(random.within(1, 4)),
                    static_cast<std::size_t>(random.within(1, 3)),
                    static_cast<std::size_t>(random.within(1, 3))};
    const Model model = some_model(random, grid, static_cast<Mean>(trial % 4));
    Writer out;
    write_model(out, model);
    const std::vector<std::uint8_t> bytes = out.take();
    Reader in(bytes, "model");
    const Model read = read_model(in, grid);
    in.finish();
    CAPTURE(trial);
    REQUIRE(read.row_scales == model.row_scales);
    REQUIRE(read.col_scales == model.col_scales);
    REQUIRE(read.tap_scales == model.tap_scales);
    REQUIRE(read.window == model.window);
    REQUIRE(read.closed == model.closed);
    REQUIRE(read.dead == model.dead);
    REQUIRE(read.shape == model.shape);
  }
}

TEST_CASE("streams with a table give their levels back, in about their entropy") {
  Random random(3);
  for (const double mean : {0.0, 0.05, 0.6, 4.0, 60.0}) {
    for (const std::size_t count : {1U, 2U, 5U, 300U, 200'000U}) {
      std::vector<std::int8_t> levels;
      std::vector<double> counts(256, 0);
      for (std::size_t i = 0; i < count; ++i) {
        const double v = mean == 0.0 ? -7 : std::clamp(random.laplace(mean), -128.0, 127.0);
        levels.push_back(static_cast<std::int8_t>(v));
        ++counts[static_cast<std::uint8_t>(levels.back())];
      }
      const TableStream stream = encode_table_stream(levels);
      CHECK(decode_table_stream(stream, count) == levels);
      CHECK(stream.bins.size() == 64);
      double bits = 0;
      for (const double n : counts) bits -= n == 0 ? 0 : n * std::log2(n / static_cast<double>(count));
      CHECK(16.0 * static_cast<double>(stream.words.size()) <= 1.01 * bits + 8);
    }
  }
}
