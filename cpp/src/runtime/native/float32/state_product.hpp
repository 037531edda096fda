#pragma once

#include <memory>

#include "runtime/kernels/float32/matmul/matmul.hpp"
#include "runtime/kernels/int8/digits/digits.hpp"
#include "runtime/native/kernel.hpp"

namespace rdquant::runtime::native {

/// The product of recurrent layers' states with rows of r, floats or levels of 8 bits.
class StateProduct {
 public:
  using Index = kernels::Index;

  StateProduct(Index batch, Index rows, Index hidden, bool levels, int threads);

  /// Of the packed rows.
  [[nodiscard]] std::size_t bytes() const;
  /// Packs rows [first, …) of r.
  [[nodiscard]] std::shared_ptr<const Packer> packer(Index first) const;
  /// Floats that a call needs.
  [[nodiscard]] Index scratch() const;

  struct Args {
    const float* state;
    const void* packed;
    const float* scales;  ///< of the rows of levels
    const float* sum;     ///< rows as far apart as y's; or null
    float* y;
    Index y_row;
    Index batch;  ///< so many states, the first ones
    float* memory;
  };
  /// y [batch][y_row] = state · rᵀ + sum
  void operator()(const Args& args) const;

 private:
  void by_digits(const Args& args) const;
  void by_floats(const Args& args) const;
  [[nodiscard]] Index item_scratch() const;
  [[nodiscard]] Index digit_floats() const;

  const kernels::Matmul* kernels_;
  const kernels::DigitKernels* digits_;  ///< null: by floats
  kernels::MatmulPlan plan_;
  bool levels_;
  int threads_;
};

}  // namespace rdquant::runtime::native
