// Packing of the operands of a product of matrices.
#pragma once

#include "runtime/kernels/vec.inl"

namespace rdquant::runtime::kernels {
namespace {

// Up to B rows of `count` ≤ B floats, `stride` apart, transposed; zeros for the rest.
inline void load_square(const float* from, Index stride, Index rows, Index count, F32 (&square)[kBlock]) {
  for (Index i = 0; i < kBlock; ++i) {
    if (i >= rows) {
      square[i] = splat(0.0f);
    } else {
      square[i] = count == kBlock ? load(from + i * stride) : load_some(from + i * stride, count);
    }
  }
  transpose(square);
}

// `rows` ≤ B rows of a as [depth][rows]. Writes up to B floats more.
inline void pack_rows(const float* a, Index row, Index column, Index rows, Index depth, float* out) {
  if (column == 1) {
    for (Index j = 0; j < depth; j += kBlock) {
      const Index count = depth - j < kBlock ? depth - j : kBlock;
      F32 square[kBlock];
      load_square(a + j, row, rows, count, square);
      for (Index i = 0; i < count; ++i, out += rows) store(out, square[i]);
    }
    return;
  }
  for (Index j = 0; j < depth; ++j, out += rows) {
    const float* const from = a + j * column;
    for (Index i = 0; i < rows; ++i) out[i] = from[i * row];
  }
}

// `real` columns of b as [depth][wide], zeros beside them.
inline void pack_panel(const float* b, Index row, Index column, Index real, Index wide, Index depth,
                       float* out) {
  for (Index n = 0; n < wide; n += kBlock) {
    const Index columns = real - n < 0 ? 0 : (real - n < kBlock ? real - n : kBlock);
    const float* const from = b + n * column;
    if (column == 1) {
      for (Index i = 0; i < depth; ++i) {
        const F32 x = columns == kBlock ? load(from + i * row) : load_some(from + i * row, columns);
        store(out + i * wide + n, x);
      }
      continue;
    }
    for (Index i = 0; i < depth; i += kBlock) {
      const Index count = depth - i < kBlock ? depth - i : kBlock;
      F32 square[kBlock];
      if (row == 1) {
        load_square(from + i, column, columns, count, square);
        for (Index j = 0; j < count; ++j) store(out + (i + j) * wide + n, square[j]);
        continue;
      }
      for (Index j = 0; j < count; ++j) {
        for (Index c = 0; c < kBlock; ++c)
          out[(i + j) * wide + n + c] = c < columns ? from[(i + j) * row + c * column] : 0.0f;
      }
    }
  }
}

}  // namespace
}  // namespace rdquant::runtime::kernels
