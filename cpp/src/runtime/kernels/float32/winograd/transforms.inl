// The one-dimensional transforms of F(m, 3): y = Aᵀ[(G·g) ⊙ (Bᵀ·d)] is the sum of m outputs.
#pragma once

#include "runtime/kernels/vec.inl"

namespace rdquant::runtime::kernels {
namespace {

template <int M>
struct Minimal;

// Points 0, 1, −1, ∞.
template <>
struct Minimal<2> {
  static constexpr int kPoints = 4;
  [[gnu::always_inline]] static void input(const F32 (&d)[4], F32 (&v)[4]) {
    v[0] = d[0] - d[2];
    v[1] = d[1] + d[2];
    v[2] = d[2] - d[1];
    v[3] = d[3] - d[1];
  }
  [[gnu::always_inline]] static void filter(const F32 (&g)[3], F32 (&u)[4]) {
    const F32 half = splat(0.5f);
    const F32 even = half * (g[0] + g[2]);
    u[0] = g[0];
    u[1] = fma(half, g[1], even);
    u[2] = fma(splat(-0.5f), g[1], even);
    u[3] = g[2];
  }
  [[gnu::always_inline]] static void output(const F32 (&m)[4], F32 (&y)[2]) {
    y[0] = m[0] + (m[1] + m[2]);
    y[1] = m[3] + (m[1] - m[2]);
  }
};

// Points 0, a, −a, b, −b, ∞ with a = 3/4, b = 3/2.
template <>
struct Minimal<4> {
  static constexpr int kPoints = 6;
  static constexpr float a = 0.75f;
  static constexpr float b = 1.5f;
  static constexpr float a2 = a * a;
  static constexpr float b2 = b * b;
  [[gnu::always_inline]] static void input(const F32 (&d)[6], F32 (&v)[6]) {
    const F32 even_a = fma(splat(-b2), d[2], d[4]);
    const F32 odd_a = fma(splat(-b2), d[1], d[3]);
    const F32 even_b = fma(splat(-a2), d[2], d[4]);
    const F32 odd_b = fma(splat(-a2), d[1], d[3]);
    v[0] = fma(splat(a2 * b2), d[0], fma(splat(-a2 - b2), d[2], d[4]));
    v[1] = fma(splat(a), odd_a, even_a);
    v[2] = fma(splat(-a), odd_a, even_a);
    v[3] = fma(splat(b), odd_b, even_b);
    v[4] = fma(splat(-b), odd_b, even_b);
    v[5] = fma(splat(a2 * b2), d[1], fma(splat(-a2 - b2), d[3], d[5]));
  }
  [[gnu::always_inline]] static void filter(const F32 (&g)[3], F32 (&u)[6]) {
    constexpr double p = 1.0 / (2.0 * a2 * (a2 - b2));
    constexpr double q = 1.0 / (2.0 * b2 * (b2 - a2));
    const F32 even_a = fma(splat(static_cast<float>(a2 * p)), g[2], splat(static_cast<float>(p)) * g[0]);
    const F32 even_b = fma(splat(static_cast<float>(b2 * q)), g[2], splat(static_cast<float>(q)) * g[0]);
    u[0] = splat(static_cast<float>(1.0 / (double{a2} * b2))) * g[0];
    u[1] = fma(splat(static_cast<float>(a * p)), g[1], even_a);
    u[2] = fma(splat(static_cast<float>(-a * p)), g[1], even_a);
    u[3] = fma(splat(static_cast<float>(b * q)), g[1], even_b);
    u[4] = fma(splat(static_cast<float>(-b * q)), g[1], even_b);
    u[5] = g[2];
  }
  [[gnu::always_inline]] static void output(const F32 (&m)[6], F32 (&y)[4]) {
    const F32 even_a = m[1] + m[2];
    const F32 odd_a = m[1] - m[2];
    const F32 even_b = m[3] + m[4];
    const F32 odd_b = m[3] - m[4];
    y[0] = m[0] + (even_a + even_b);
    y[1] = fma(splat(a), odd_a, splat(b) * odd_b);
    y[2] = fma(splat(a2), even_a, splat(b2) * even_b);
    y[3] = fma(splat(a2 * a), odd_a, fma(splat(b2 * b), odd_b, m[5]));
  }
};

}  // namespace
}  // namespace rdquant::runtime::kernels
