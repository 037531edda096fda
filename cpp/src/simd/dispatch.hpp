#pragma once

#include "rdquant/core/cpu.hpp"

/// One vector layer for all kernels: vector types (*.inl, for files that are compiled for one instruction set)
/// and the choice among what these files define.
namespace rdquant::simd {

/// A family of kernels, compiled for each instruction set; null where this build has no such variant.
template <class T>
struct Variants {
  const T* baseline;
  const T* avx2 = nullptr;
  const T* avx512 = nullptr;
};

/// RDQUANT_VARIANTS: those of `name` in the namespaces baseline, avx2 and avx512; RDQUANT_VARIANTS_TO_AVX2: of the first
/// two, where wider vectors gain nothing. RDQUANT_LEAF: the leaf kernel `name`, which needs a feature, or `other` where
/// core::selected_cpu() or this build lacks it; RDQUANT_ARM_LEAF: the same for a feature of ARM.
#if defined(__x86_64__)
#define RDQUANT_VARIANTS(name) \
  ::rdquant::simd::Variants { &baseline::name, &avx2::name, &avx512::name }
#define RDQUANT_VARIANTS_TO_AVX2(name) \
  ::rdquant::simd::Variants { &baseline::name, &avx2::name }
#define RDQUANT_LEAF(feature, name, other) \
  (::rdquant::core::has(::rdquant::core::Feature::feature) ? name : other)
#define RDQUANT_ARM_LEAF(feature, name, other) (other)
#else
#define RDQUANT_VARIANTS(name) \
  ::rdquant::simd::Variants { &baseline::name }
#define RDQUANT_VARIANTS_TO_AVX2(name) RDQUANT_VARIANTS(name)
#define RDQUANT_LEAF(feature, name, other) (other)
#if defined(__aarch64__)
#define RDQUANT_ARM_LEAF(feature, name, other) \
  (::rdquant::core::has(::rdquant::core::Feature::feature) ? name : other)
#else
#define RDQUANT_ARM_LEAF(feature, name, other) (other)
#endif
#endif

/// @throws InvalidArgument  This processor or this build lacks the instruction set.
void require_available(core::Isa isa);

/// The variant for `isa`, which this processor need not have.
template <class T>
[[nodiscard]] const T& variant(const Variants<T>& all, core::Isa isa) {
  if (isa == core::Isa::avx512 && all.avx512 != nullptr) return *all.avx512;
  if (isa >= core::Isa::avx2 && all.avx2 != nullptr) return *all.avx2;
  return *all.baseline;
}

/// The variant for core::selected_isa().
template <class T>
[[nodiscard]] const T& selected(const Variants<T>& all) {
  return variant(all, core::selected_isa());
}

/// The widest of the variants up to core::selected_isa() that `suits`; null if none does.
template <class T, class Suits>
[[nodiscard]] const T* selected_where(const Variants<T>& all, Suits suits) {
  for (int isa = static_cast<int>(core::selected_isa()); isa >= 0; --isa) {
    const T& one = variant(all, static_cast<core::Isa>(isa));
    if (suits(one)) return &one;
  }
  return nullptr;
}

}  // namespace rdquant::simd
