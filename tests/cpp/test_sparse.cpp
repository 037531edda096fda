#include <doctest/doctest.h>

#include <cstdint>
#include <random>
#include <vector>

#include "codec/sparse/sparse_kernels.hpp"
#include "variants.hpp"

using namespace rdquant::codec;

namespace {

std::vector<const SparseKernels*> all_kernels() {
  return rdquant::runnable(RDQUANT_VARIANTS(sparse_kernels));
}

/// −1, 0 and 1, one of `sparsity` not 0.
std::vector<std::int32_t> random_signs(std::mt19937& random, std::size_t size, unsigned sparsity) {
  std::vector<std::int32_t> signs(size, 0);
  for (std::int32_t& sign : signs) {
    if (random() % sparsity == 0) sign = random() % 2 == 0 ? 1 : -1;
  }
  return signs;
}

}  // namespace

TEST_CASE("every instruction set writes the scales of the elements that are not 0") {
  std::mt19937 random(5);
  for (const std::size_t size : {1U, 7U, 8U, 9U, 15U, 16U, 17U, 33U, 200U}) {
    for (const unsigned sparsity : {1U, 2U, 9U}) {
      const std::vector<std::int32_t> signs = random_signs(random, size, sparsity);
      std::vector<std::int16_t> of_row(size + kBehind), wanted;
      for (std::int16_t& scale : of_row) scale = static_cast<std::int16_t>(random() % 4001) - 2000;
      const auto row = static_cast<std::int16_t>(random() % 401 - 200);
      for (std::size_t i = 0; i < size; ++i) {
        if (signs[i] != 0) wanted.push_back(static_cast<std::int16_t>(row + of_row[i]));
      }
      for (const SparseKernels* kernels : all_kernels()) {
        std::vector<std::int16_t> out(wanted.size() + kBehind);
        const std::int16_t* const end =
            kernels->scales_of_row(signs.data(), of_row.data(), size, row, out.data());
        REQUIRE(end == out.data() + wanted.size());
        out.resize(wanted.size());
        REQUIRE(out == wanted);
      }
    }
  }
}

TEST_CASE("every instruction set places levels at their distances") {
  std::mt19937 random(6);
  for (const std::size_t size : {1U, 8U, 16U, 31U, 32U, 50U, 300U}) {
    for (const unsigned sparsity : {1U, 2U, 9U}) {
      for (const bool same : {false, true}) {
        const std::vector<std::int32_t> signs = random_signs(random, size, sparsity);
        std::vector<std::int32_t> distances(size + kBehind);
        for (std::int32_t& d : distances) d = static_cast<std::int32_t>(random() % 1000000);
        const std::int32_t common = 7, least = 3;
        for (const SparseKernels* kernels : all_kernels()) {
          std::vector<std::int32_t> levels = signs, wanted = signs;
          std::size_t taken = 0, next = 0;
          const std::size_t done =
              kernels->place(distances.data(), same, common, least, levels.data(), size, taken);
          CHECK(done + kBehind > size);
          for (std::size_t i = 0; i < done; ++i) {
            wanted[i] = common + signs[i] * (least + distances[same ? 0 : next]);
            next += signs[i] != 0 && !same ? 1 : 0;
          }
          REQUIRE(levels == wanted);
          REQUIRE(taken == next);
        }
      }
    }
  }
}
