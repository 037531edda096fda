#pragma once

#include <vector>

#include "simd/dispatch.hpp"

namespace rdquant {

/// All variants of a family of kernels that this processor can run, each once.
template <class T>
std::vector<const T*> runnable(const simd::Variants<T>& all) {
  std::vector<const T*> some = {all.baseline};
  if (core::available_isa() >= core::Isa::avx2 && all.avx2 != nullptr) some.push_back(all.avx2);
  if (core::available_isa() >= core::Isa::avx512 && all.avx512 != nullptr) some.push_back(all.avx512);
  return some;
}

}  // namespace rdquant
