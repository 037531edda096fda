#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "codec/mixing/references.hpp"

using rdquant::codec::References;
using Row = std::vector<std::int64_t>;

namespace {

constexpr std::size_t kBlock = References::kBlock;

/// What the header says, word by word, with all sums made anew.
class Plain {
 public:
  explicit Plain(std::size_t length) : length_(length) {}

  /// Means of the row after those of `rows`, whose first values are `begun`.
  void means(const Row& begun, std::vector<std::int64_t>& out) {
    const std::size_t blocks = begun.size() / kBlock;
    out.assign(kBlock, 0);
    if (blocks == 0 || kept_.empty()) return;
    std::size_t interval = 1;
    while (interval * 16 <= blocks) interval *= 2;
    if (blocks % interval == 0) choose(begun);
    for (std::size_t i = 0; i < kBlock && blocks * kBlock + i < length_; ++i) {
      std::int64_t sum = 2048;
      for (std::size_t k = 0; k < used_.size(); ++k) {
        sum += weights_[k] * kept_[used_[k]][blocks * kBlock + i];
      }
      out[i] = std::clamp<std::int64_t>(sum >> 12, -32767, 32767);
    }
  }
  void keep(const Row& row) {
    std::uint64_t energy = 0;
    for (const std::int64_t v : row) energy += static_cast<std::uint64_t>(v * v);
    const std::uint64_t ratio = (std::uint64_t{length_} << 32) / std::max<std::uint64_t>(1, energy);
    auto factor = static_cast<std::uint64_t>(std::sqrt(static_cast<long double>(ratio)));
    while (factor * factor > ratio) --factor;
    while ((factor + 1) * (factor + 1) <= ratio) ++factor;
    Row scaled;
    for (const std::int64_t v : row) {
      scaled.push_back(
          std::clamp<std::int64_t>((v * static_cast<std::int64_t>(factor) + 128) >> 8, -2047, 2047));
    }
    if (kept_.size() < References::kKept) {
      kept_.push_back(scaled);
    } else {
      kept_[rows_ % References::kKept] = scaled;
    }
    ++rows_;
    used_.clear();
  }

 private:
  static std::int64_t dot(const Row& x, const Row& y, std::size_t n) {
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < n; ++i) sum += x[i] * y[i];
    return sum;
  }
  void choose(const Row& begun) {
    const std::size_t n = begun.size();
    Row products;
    used_.clear();
    for (std::size_t j = 0; j < kept_.size(); ++j)
      products.push_back(dot(begun, kept_[j], n)), used_.push_back(j);
    std::stable_sort(used_.begin(), used_.end(), [&](std::size_t a, std::size_t b) {
      return std::abs(products[a]) > std::abs(products[b]);
    });
    used_.resize(std::min(used_.size(), References::kUsed));
    weights_.assign(used_.size(), 0);
    for (int sweep = 0; sweep < 6; ++sweep) {
      for (std::size_t k = 0; k < used_.size(); ++k) {
        std::int64_t rest = products[used_[k]] * 65536;
        for (std::size_t l = 0; l < used_.size(); ++l) {
          if (l != k) rest -= dot(kept_[used_[k]], kept_[used_[l]], n) * weights_[l];
        }
        const std::int64_t own = dot(kept_[used_[k]], kept_[used_[k]], n);
        const std::int64_t ridge = own * 64 / static_cast<std::int64_t>(n);
        weights_[k] = std::clamp<std::int64_t>(rest / (own + ridge + 1), -(1 << 19), 1 << 19);
      }
    }
  }

  std::size_t length_, rows_ = 0;
  std::vector<Row> kept_;
  std::vector<std::size_t> used_;
  Row weights_;
};

/// A few patterns, rows of which each is some of them and noise; some rows are silent, some loud.
std::vector<Row> families(std::size_t rows, std::size_t length, unsigned seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<double> draw;
  std::vector<std::vector<double>> patterns(5, std::vector<double>(length));
  for (auto& pattern : patterns) {
    for (double& v : pattern) v = 30.0 * draw(engine);
  }
  std::vector<Row> out;
  for (std::size_t r = 0; r < rows; ++r) {
    const auto& pattern = patterns[engine() % patterns.size()];
    const double loud = r % 13 == 5 ? 0.0 : (r % 17 == 3 ? 60.0 : 1.0);
    Row row;
    for (std::size_t i = 0; i < length; ++i)
      row.push_back(std::lround(loud * (pattern[i] + 15.0 * draw(engine))));
    out.push_back(row);
  }
  return out;
}

}  // namespace

TEST_CASE("predictions are those of the plain implementation") {
  struct Shape {
    std::size_t rows, length;
  };
  for (const Shape shape : {Shape{40, 200}, Shape{1100, 64}, Shape{9, 1300}, Shape{3, 70}, Shape{2, 4000}}) {
    References fast(shape.rows, shape.length);
    Plain plain(shape.length);
    std::vector<std::int64_t> expected;
    for (const Row& row : families(shape.rows, shape.length, 1)) {
      Row begun;
      for (std::size_t i = 0; i < shape.length; ++i) {
        if (i % kBlock == 0) plain.means(begun, expected);
        REQUIRE(fast.mean() == expected[i % kBlock]);
        fast.take(static_cast<std::int32_t>(row[i]));
        begun.push_back(std::clamp<std::int64_t>(row[i], -2047, 2047));
      }
      plain.keep(begun);
    }
  }
}

TEST_CASE("a row like an earlier one is foretold from its second block on") {
  const std::size_t length = 512;
  const auto rows = families(40, length, 2);
  References references(41, length);
  for (const Row& row : rows) {
    for (const std::int64_t v : row) (void)references.mean(), references.take(static_cast<std::int32_t>(v));
  }
  double error = 0.0, energy = 0.0;
  for (std::size_t i = 0; i < length; ++i) {
    const double v = 3.0 * static_cast<double>(rows[30][i]);  // three times as loud, and the other way round
    const double missed = -v - references.mean() / 16.0;
    if (i >= kBlock) error += missed * missed, energy += v * v;
    references.take(static_cast<std::int32_t>(-v));
  }
  CHECK(error < 0.12 * energy);
}

TEST_CASE("the largest values of the longest rows do not overflow") {
  const std::size_t length = std::size_t{1} << 20;
  REQUIRE(References::fit(3, length));
  CHECK(!References::fit(3, length + 1));
  CHECK(!References::fit(1, 64));
  CHECK(!References::fit(2, 63));
  References references(3, length);
  for (int row = 0; row < 2; ++row) {
    for (std::size_t i = 0; i < length; ++i) (void)references.mean(), references.take(1 << 30);
  }
  for (std::size_t i = 0; i < length; ++i) {
    const double mean = references.mean() / 16.0;
    if (i == length - 1) CHECK(std::abs(mean - 2047.0) < 20.0);
    references.take(1 << 30);
  }
}
