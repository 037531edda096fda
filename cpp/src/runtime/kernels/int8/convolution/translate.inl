// Tables of 256 int8 values for the bytes of a tile.
#pragma once

#include "runtime/kernels/int8/convolution/pack.inl"
#include "runtime/kernels/int8/lookup.inl"

namespace rdquant::runtime::kernels {
namespace {

// A table, made ready; or none.
struct Translation {
  const std::uint8_t* table;
  bool in_registers;  // the processor looks bytes up in registers
  Rows rows;          // where it does not
};

inline Translation translation(const std::uint8_t* table) {
  Translation t;
  t.table = table;
#if defined(__AVX512VNNI__) || defined(__ARM_NEON)
  t.in_registers = simd::looks_up();
#else
  t.in_registers = false;
#endif
  if (kShufflesLookUp && table != nullptr && !t.in_registers) t.rows = rows_of(table);
  return t;
}

// The bytes in a register, where the processor looks them up there or there is no table.
[[gnu::always_inline]] inline Packed translate([[maybe_unused]] const Translation& t, Packed bytes) {
#if defined(__AVX512VNNI__) || defined(__ARM_NEON)
  if (t.table != nullptr) return simd::lookup(t.table, bytes);
#endif
  return bytes;
}

// In place; bytes up to the next multiple of 64 may be written.
inline void translate(const Translation& t, std::uint8_t* bytes, Index n) {
#if defined(__AVX512VNNI__) || defined(__ARM_NEON)
  if (t.in_registers) {
    for (Index i = 0; i < n; i += kBytes) {
      store_as(bytes + i, simd::lookup(t.table, simd::load_as<Packed>(bytes + i)));
    }
    return;
  }
#endif
  if constexpr (!kShufflesLookUp) return lookup(t.table, bytes, bytes, 0, n);
  for (Index i = 0; i < n; i += kBytes) {
    store_as(bytes + i, look_up(t.rows, simd::load_as<Packed>(bytes + i)));
  }
}

}  // namespace
}  // namespace rdquant::runtime::kernels
