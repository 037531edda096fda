// Functions of one and of two arrays, softmax.
#pragma once

#include "runtime/kernels/float32/elementary/power.inl"
#include "runtime/kernels/float32/math.inl"

namespace rdquant::runtime::kernels {
namespace {

void unary(const Activation& f, const float* src, float* dst, Index begin, Index end) {
  apply_all(f, src + begin, dst + begin, end - begin);
}

template <Binary F>
inline F32 combine(F32 a, F32 b) {
  if constexpr (F == Binary::add) return a + b;
  if constexpr (F == Binary::sub) return a - b;
  if constexpr (F == Binary::mul) return a * b;
  if constexpr (F == Binary::div) return a / b;
  if constexpr (F == Binary::min) return min_or_nan(a, b);
  if constexpr (F == Binary::max) return max_or_nan(a, b);
  if constexpr (F == Binary::prelu) return if_negative(a, a * b, a);
  if constexpr (F == Binary::pow) return power(a, b);
}

// Calls body(std::integral_constant<Binary, f>).
template <class Body>
inline void with_binary(Binary f, Body body) {
  using enum Binary;
  switch (f) {
    case add:
      return body(std::integral_constant<Binary, add>{});
    case sub:
      return body(std::integral_constant<Binary, sub>{});
    case mul:
      return body(std::integral_constant<Binary, mul>{});
    case div:
      return body(std::integral_constant<Binary, div>{});
    case Binary::min:
      return body(std::integral_constant<Binary, Binary::min>{});
    case Binary::max:
      return body(std::integral_constant<Binary, Binary::max>{});
    case prelu:
      return body(std::integral_constant<Binary, prelu>{});
    case pow:
      return body(std::integral_constant<Binary, pow>{});
  }
}

// One row; operands of step 0 are the same number everywhere.
template <Binary F>
[[gnu::always_inline]] inline void binary_row(const float* a, Index a_step, const float* b, Index b_step,
                                              float* dst, Index n) {
  const F32 a_all = splat(*a);
  const F32 b_all = splat(*b);
  Index i = 0;
  for (; i + kBlock <= n; i += kBlock)
    store(dst + i, combine<F>(a_step == 0 ? a_all : load(a + i), b_step == 0 ? b_all : load(b + i)));
  if (i == n) return;
  const F32 x = a_step == 0 ? a_all : load_some(a + i, n - i);
  const F32 y = b_step == 0 ? b_all : load_some(b + i, n - i);
  store_some(dst + i, combine<F>(x, y), n - i);
}

void powers_of_roots(const float* a, float b, float* dst, Index n) {
  const int quarters = static_cast<int>(b * 4.0f);
  Index i = 0;
  for (; i + kBlock <= n; i += kBlock) store(dst + i, power_of_roots(load(a + i), quarters));
  if (i < n) store_some(dst + i, power_of_roots(load_some(a + i, n - i), quarters), n - i);
}

void binary(Binary f, const float* a, Index a_step, const float* b, Index b_step, float* dst, Index begin,
            Index end) {
  if (begin == end) return;
  if (f == Binary::pow && a_step == 1 && b_step == 0 && is_of_roots(*b))
    return powers_of_roots(a + begin, *b, dst + begin, end - begin);
  with_binary(f, [&](auto function) {
    binary_row<decltype(function)::value>(a + begin * a_step, a_step, b + begin * b_step, b_step, dst + begin,
                                          end - begin);
  });
}

constexpr Index kSpread = 1024;  // numbers of short rows that are computed at once, as one long row

// Rows of an operand one after the other, its single numbers repeated. Stores run past the end of each row, to where the
// next is: stores of some lanes take several times as long.
inline void spread(const float* from, Index row, Index step, float* to, Index count, Index rows) {
  for (Index r = 0; r < rows; ++r, from += row) {
    float* const at = to + r * count;
    if (step == 0) {
      const F32 all = splat(*from);
      for (Index i = 0; i < count; i += kBlock) store(at + i, all);
    } else {
      Index i = 0;
      for (; i + kBlock <= count; i += kBlock) store(at + i, load(from + i));
      if (i < count) store(at + i, load_some(from + i, count - i));
    }
  }
}

// An operand of short rows as one long row: as it lies, or spread into a buffer, once where all rows are the same.
class LongRow {
 public:
  LongRow(const float* from, Index row, Index step, Index count, Index rows)
      : from_(from), row_(row), step_(step), count_(count), lies_so_(row == count && step == 1) {
    if (row == 0) spread(from, 0, step, buffer_, count, rows);
  }
  const float* take(Index first, Index rows) {
    if (lies_so_) return from_ + first * row_;
    if (row_ != 0) spread(from_ + first * row_, row_, step_, buffer_, count_, rows);
    return buffer_;
  }

 private:
  const float* from_;
  Index row_, step_, count_;
  bool lies_so_;
  alignas(64) float buffer_[kSpread + kBlock];
};

void short_rows(Binary f, const float* a, Index a_row, Index a_step, const float* b, Index b_row,
                Index b_step, float* dst, Index count, Index rows) {
  const Index height = kSpread / count < rows ? kSpread / count : rows;
  LongRow x(a, a_row, a_step, count, height), z(b, b_row, b_step, count, height);
  with_binary(f, [&](auto function) {
    for (Index row = 0; row < rows; row += height) {
      const Index some = rows - row < height ? rows - row : height;
      binary_row<decltype(function)::value>(x.take(row, some), 1, z.take(row, some), 1, dst + row * count,
                                            some * count);
    }
  });
}

void binary_rows(Binary f, const float* a, Index a_row, Index a_step, const float* b, Index b_row,
                 Index b_step, float* dst, Index count, Index begin, Index end) {
  if (begin == end) return;
  a += begin * a_row, b += begin * b_row, dst += begin * count;
  if (count <= kSpread / 16)
    return short_rows(f, a, a_row, a_step, b, b_row, b_step, dst, count, end - begin);
  with_binary(f, [&](auto function) {
    for (Index row = 0; row < end - begin; ++row)
      binary_row<decltype(function)::value>(a + row * a_row, a_step, b + row * b_row, b_step,
                                            dst + row * count, count);
  });
}

void binary_channels(Binary f, bool reversed, const float* a, Index a_image, const float* v, Index v_image,
                     float* dst, Index dst_image, Index c, Index area, Index begin, Index end) {
  const Index blocks = divide(c, kBlock);
  with_binary(f, [&](auto function) {
    constexpr Binary kFunction = decltype(function)::value;
    for (Index item = begin; item < end; ++item) {
      const Index block = item % blocks;
      const Index image = item / blocks;
      const float* const in = a + image * a_image + block * area * kBlock;
      float* const out = dst + image * dst_image + block * area * kBlock;
      const F32 value = load(v + image * v_image + block * kBlock);
      for (Index i = 0; i < area * kBlock; i += kBlock) {
        const F32 x = load(in + i);
        store(out + i, reversed ? combine<kFunction>(value, x) : combine<kFunction>(x, value));
      }
    }
  });
}

// Quotients below are raised to it: results too small for a normal number take a hundred times as long to
// make, and to read.
constexpr float kLeast = 0x1p-125f;

void softmax_row(const float* src, float* dst, Index length) {
  const float lowest = -__builtin_inff();
  F32 top = splat(lowest);
  Index i = 0;
  for (; i + kBlock <= length; i += kBlock) top = max(top, load(src + i));
  float most = max_of(top);
  for (; i < length; ++i) most = src[i] > most ? src[i] : most;
  const F32 shift = splat(most);
  F32 sums = splat(0.0f);
  for (i = 0; i + kBlock <= length; i += kBlock) {
    const F32 e = exp(load(src + i) - shift);
    sums = sums + e;
    store(dst + i, e);
  }
  float total = sum(sums);
  if (i < length) {
    store_some(dst + i, exp(load_some(src + i, length - i) - shift), length - i);
    for (Index j = i; j < length; ++j) total += dst[j];
  }
  const F32 inverse_total = splat(1.0f / total);
  const F32 least = splat(total * kLeast);
  const auto quotient = [&](F32 e) { return max(e, least) * inverse_total; };
  for (i = 0; i + kBlock <= length; i += kBlock) store(dst + i, quotient(load(dst + i)));
  if (i < length) store_some(dst + i, quotient(load_some(dst + i, length - i)), length - i);
}

void softmax(const float* src, float* dst, Index length, Index begin, Index end) {
  for (Index row = begin; row < end; ++row) softmax_row(src + row * length, dst + row * length, length);
}

// Columns side by side, one register of each row at a time.
template <class Load, class Store>
[[gnu::always_inline]] inline void softmax_lanes(const float* src, float* dst, Index length, Index stride,
                                                 Load load_lanes, Store store_lanes) {
  F32 top = load_lanes(src);
  for (Index a = 1; a < length; ++a) top = max(top, load_lanes(src + a * stride));
  F32 total = splat(0.0f);
  for (Index a = 0; a < length; ++a) {
    const F32 e = exp(load_lanes(src + a * stride) - top);
    total = total + e;
    store_lanes(dst + a * stride, e);
  }
  const F32 least = total * splat(kLeast);
  const F32 inverse_total = splat(1.0f) / total;
  for (Index a = 0; a < length; ++a) {
    float* const at = dst + a * stride;
    store_lanes(at, max(load_lanes(at), least) * inverse_total);
  }
}

void softmax_columns(const float* src, float* dst, Index length, Index stride, Index begin, Index end) {
  Index c = begin;
  for (; c + kBlock <= end; c += kBlock) {
    softmax_lanes(
        src + c, dst + c, length, stride, [](const float* p) { return load(p); },
        [](float* p, F32 x) { store(p, x); });
  }
  if (c == end) return;
  softmax_lanes(
      src + c, dst + c, length, stride, [=](const float* p) { return load_some(p, end - c); },
      [=](float* p, F32 x) { store_some(p, x, end - c); });
}

}  // namespace
}  // namespace rdquant::runtime::kernels
