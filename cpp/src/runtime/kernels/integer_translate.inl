// Tables of 256 levels for the bytes of a tile.
#pragma once

#include "integer_lookup.inl"
#include "integer_tables.hpp"

namespace rdquant::runtime::kernels {
namespace {

// A table, made ready.
struct Translation {
  const std::uint8_t* table;
  decltype(IntegerKernels::lookup) all;  // null: by `rows`
#if defined(__AVX2__)
  Rows rows;
#endif
};

inline Translation translation(const std::uint8_t* table) {
  Translation t;
  t.table = table;
#if defined(__AVX512VNNI__)
  t.all = __builtin_cpu_supports("avx512vbmi") ? avx512vbmi::lookup : nullptr;
#elif defined(__AVX2__)
  t.all = nullptr;
#else
  t.all = lookup;
#endif
#if defined(__AVX2__)
  if (t.all == nullptr) t.rows = rows_of(table);
#endif
  return t;
}

// In place; bytes up to the next multiple of 64 may be written.
inline void translate(const Translation& t, std::uint8_t* bytes, Index n) {
#if defined(__AVX2__)
  if (t.all == nullptr) {
    for (Index i = 0; i < n; i += kRegister)
      store_register(bytes + i, look_up(t.rows, load_register(bytes + i)));
    return;
  }
#endif
  t.all(t.table, bytes, bytes, 0, n);
}

}  // namespace
}  // namespace rdquant::runtime::kernels
