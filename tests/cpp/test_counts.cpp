#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <random>

#include "rdquant/codec/rate.hpp"
#include "rdquant/entropy/counts.hpp"

using namespace rdquant;

TEST_CASE("counts are those of a map, whatever the spread") {
  std::mt19937 engine(2);
  for (const std::int64_t spread : {1LL, 10LL, 3000LL, 1LL << 20, 1LL << 32}) {
    std::uniform_int_distribution<std::int64_t> draw(-spread / 2, (spread - 1) / 2);
    std::vector<std::int32_t> symbols(5000);
    std::map<std::int64_t, std::uint64_t> expected;
    for (auto& s : symbols) ++expected[s = static_cast<std::int32_t>(draw(engine))];
    entropy::Counter counter;
    counter.add(std::span(symbols).first(17));
    counter.add(std::span(symbols).subspan(17));
    const entropy::Counts counts = counter.finish();
    REQUIRE(counts.values.size() == expected.size());
    std::size_t i = 0;
    for (const auto& [value, count] : expected) {
      CHECK(counts.values[i] == value);
      CHECK(counts.counts[i++] == count);
    }
    CHECK(counts.total() == symbols.size());
  }
}

TEST_CASE("peaked symbols are counted exactly wherever their peak lies and moves") {
  constexpr auto kMost = std::numeric_limits<std::int32_t>::max();
  std::mt19937 engine(3);
  entropy::Counter all(100'000);
  entropy::Counter merged(100'000);
  std::map<std::int64_t, std::uint64_t> expected;
  for (const std::int32_t peak : {0, 31, -500, -500, 20'000, 0, kMost - 40}) {
    std::normal_distribution<double> draw(peak, 12.0);
    std::vector<std::int32_t> symbols(4096 + 77);
    for (auto& s : symbols)
      s = static_cast<std::int32_t>(std::clamp(draw(engine), -2147483648.0, 2147483647.0));
    for (std::size_t i = 0; i < symbols.size(); i += 300)
      symbols[i] = peak - 32 + static_cast<std::int32_t>(i / 300);
    symbols[5] = peak == 20'000 ? 1 << 15 : symbols[5];
    for (const std::int32_t s : symbols) ++expected[s];
    entropy::Counter part(symbols.size());
    part.add(symbols);
    merged.merge(part);
    all.add(symbols);
    for (const entropy::Counter* counter : {&all, &merged}) {
      const entropy::Counts counts = counter->finish();
      REQUIRE(counts.values.size() == expected.size());
      std::size_t i = 0;
      for (const auto& [value, count] : expected) {
        CHECK(counts.values[i] == value);
        CHECK(counts.counts[i++] == count);
      }
    }
  }
}

TEST_CASE("symbols at the ends of int32 among peaked ones are counted exactly") {
  for (const std::int32_t peak : {-20, 0, 20}) {
    std::vector<std::int32_t> symbols(2048, peak);
    symbols[1] = std::numeric_limits<std::int32_t>::min();
    symbols[2] = std::numeric_limits<std::int32_t>::max();
    symbols[3] = peak - 128;
    symbols[4] = peak + 256;
    symbols[5] = peak + 65536;
    entropy::Counter counter;
    counter.add(symbols);
    const entropy::Counts counts = counter.finish();
    CHECK(counts.values ==
          std::vector<std::int64_t>{symbols[1], symbols[3], peak, symbols[4], symbols[5], symbols[2]});
    CHECK(counts.counts == std::vector<std::uint64_t>{1, 1, 2043, 1, 1, 1});
  }
}

TEST_CASE("extreme symbols do not overflow") {
  const std::vector<std::int32_t> symbols = {std::numeric_limits<std::int32_t>::min(),
                                             std::numeric_limits<std::int32_t>::max(), 0, 0};
  entropy::Counter counter;
  counter.add(symbols);
  CHECK(counter.finish().entropy() == doctest::Approx(1.5));
}

TEST_CASE("the table's price grows with symbols and counts") {
  entropy::Counter one;
  one.add(std::vector<std::int32_t>{5});
  CHECK(one.finish().table_bits() == 65);
  one.add(std::vector<std::int32_t>{7, 7});
  CHECK(one.finish().table_bits() == 64 + 1 + 3 + 3);
  CHECK(entropy::Counts{}.table_bits() == 32);
  CHECK(entropy::Counts{}.entropy() == 0.0);
}

TEST_CASE("conditional entropy of an alternating sequence is zero") {
  std::vector<std::int32_t> symbols;
  for (int i = 0; i < 64; ++i) symbols.push_back(i % 2);
  CHECK(entropy::conditional_entropy(symbols, 1, 64, 1) == doctest::Approx(0.0));
  CHECK(entropy::conditional_entropy(symbols, 1, 1, 64) == 0.0);
  CHECK(entropy::conditional_entropy({}, 0, 5, 1) == 0.0);
}

TEST_CASE("measure gives error and restored values in one pass") {
  const std::vector<float> x = {0.1F, -0.26F, 0.5F, 0.0F};
  const std::vector<quant::Quantizer> q = {quant::Uniform{.step = 0.25}};
  std::vector<float> back(x.size());
  entropy::Counter counter;
  const double error = codec::measure(q, 1, x, counter, back);
  CHECK(back == std::vector<float>{0.0F, -0.25F, 0.5F, 0.0F});
  CHECK(error == doctest::Approx(0.01 + 0.0001).epsilon(1e-5));
  CHECK(counter.finish().total() == 4);
}
