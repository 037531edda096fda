// Tables of 256 int8 values for the bytes of a tile.
#pragma once

#include "runtime/kernels/int8/convolution/pack.inl"
#include "runtime/kernels/int8/lookup.inl"

namespace rdquant::runtime::kernels {
namespace {

// A table, made ready; or none.
struct Translation {
  const std::uint8_t* table;
  bool permutes;  // the processor looks up entries of registers
#if defined(__AVX2__)
  Rows rows;  // where it does not
#endif
};

inline Translation translation(const std::uint8_t* table) {
  Translation t;
  t.table = table;
  t.permutes = false;
#if defined(__AVX512VNNI__)
  t.permutes = core::has(core::Feature::vbmi);
#endif
#if defined(__AVX2__)
  if (table != nullptr && !t.permutes) t.rows = rows_of(table);
#endif
  return t;
}

#if defined(__AVX512VNNI__)
// Of 128 entries by seven bits of an index. In assembler, for most processors with VNNI instructions have
// VBMI ones too, but not all: they are asked about at run time.
inline __m512i permute(const std::uint8_t* entries, __m512i index) {
  asm("vpermi2b %2, %1, %0"
      : "+v"(index)
      : "v"(_mm512_loadu_si512(entries)), "v"(_mm512_loadu_si512(entries + 64)));
  return index;
}
inline __m512i permuted(const std::uint8_t* table, __m512i index) {
  return _mm512_mask_blend_epi8(_mm512_movepi8_mask(index), permute(table, index),
                                permute(table + 128, index));
}
#endif

// The bytes in a register, where the table permutes or there is none.
[[gnu::always_inline]] inline Packed translate([[maybe_unused]] const Translation& t, Packed bytes) {
#if defined(__AVX512VNNI__)
  if (t.table != nullptr) return permuted(t.table, bytes);
#endif
  return bytes;
}

// In place; bytes up to the next multiple of 64 may be written.
inline void translate(const Translation& t, std::uint8_t* bytes, Index n) {
#if defined(__AVX512VNNI__)
  if (t.permutes) {
    for (Index i = 0; i < n; i += kRegister)
      store_register(bytes + i, permuted(t.table, load_register(bytes + i)));
    return;
  }
#endif
#if defined(__AVX2__)
  for (Index i = 0; i < n; i += kRegister)
    store_register(bytes + i, look_up(t.rows, load_register(bytes + i)));
#else
  lookup(t.table, bytes, bytes, 0, n);
#endif
}

}  // namespace
}  // namespace rdquant::runtime::kernels
