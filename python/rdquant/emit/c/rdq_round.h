/* The numeric rule: float32 products and sums, each rounded by itself, to the nearest whole number, ties to even.
 *
 * RDQ_FLOAT 1 computes it with an FPU; 0 with integers alone, to the same bits. Which one is chosen by what the target has.
 */
#ifndef RDQ_ROUND_H
#define RDQ_ROUND_H

#include <string.h>

#include "rdq.h"
#include "rdq_simd.h"

/* With an FPU the rule is a dozen instructions, which are not worth a call, even with -Os. */
#if RDQ_FLOAT && defined(__GNUC__)
#define RDQ_INLINE static inline __attribute__((always_inline))
#else
#define RDQ_INLINE static inline
#endif

static inline int32_t rdq_clamp(int32_t q, int32_t low, int32_t high) { return q < low ? low : q > high ? high : q; }

static inline int32_t rdq_bit_length(uint64_t v) {
#if defined(__GNUC__)
  const uint32_t high = (uint32_t)(v >> 32), low = (uint32_t)v;
  return high != 0 ? 64 - __builtin_clz(high) : low != 0 ? 32 - __builtin_clz(low) : 0;
#else
  int32_t n = 0;
  for (; v != 0; v >>= 1) n++;
  return n;
#endif
}

/* v / 2^drop to the nearest, ties to even; 0 < drop < 64. */
static inline uint64_t rdq_shifted(uint64_t v, int32_t drop) {
  return (v + (((uint64_t)1 << (drop - 1)) - 1) + ((v >> drop) & 1)) >> drop;
}

#if RDQ_FLOAT

typedef float rdq_number;

/* Keeps the compiler from multiplying and adding in one instruction, which would round once instead of twice. */
RDQ_INLINE float rdq_rounded(float v) {
#if defined(__arm__)
  __asm("" : "+t"(v));
#elif defined(__aarch64__)
  __asm("" : "+w"(v));
#elif defined(__GNUC__)
  __asm("" : "+x"(v));
#endif
  return v;
}

RDQ_INLINE rdq_number rdq_of(float v) { return v; }
RDQ_INLINE rdq_number rdq_product(int32_t x, float factor) { return rdq_rounded((float)x * factor); }
RDQ_INLINE rdq_number rdq_sum(rdq_number a, rdq_number b) { return rdq_rounded(a + b); }

/* nearest(v), or a number beyond any level of its sign. */
RDQ_INLINE int32_t rdq_nearest(rdq_number v) {
#if defined(__arm__)
  int32_t q;
  __asm("vcvtr.s32.f32 %0, %0" : "+t"(v)); /* by the rounding mode, which is ties to even; saturates */
  memcpy(&q, &v, sizeof q);
  return q;
#else
  const float shift = 12582912.0F; /* 1.5 * 2^23: beside it, only whole numbers have a place */
  v = v < 1048576.0F ? v : 1048576.0F;
  v = v > -1048576.0F ? v : -1048576.0F;
  return (int32_t)(rdq_rounded(v + shift) - shift);
#endif
}

#else

/* A float32 in steps of 2^-40, cut to +-2^61. What lies below a step is kept as one set bit, which is all that rounding
 * asks of it: a number so small is far from any half. */
typedef int64_t rdq_number;

/* mantissa * 2^power, mantissa < 2^25, as a number. */
static inline rdq_number rdq_placed(uint64_t mantissa, int32_t power, int negative) {
  const int32_t shift = power + 40;
  uint64_t v = mantissa;
  if (shift > 36) {
    v = mantissa == 0 ? 0 : (uint64_t)1 << 61;
  } else if (shift >= 0) {
    v <<= shift;
  } else if (shift > -40) {
    v = (v >> -shift) | ((v & (((uint64_t)1 << -shift) - 1)) != 0);
  } else {
    v = mantissa != 0;
  }
  return negative ? -(rdq_number)v : (rdq_number)v;
}

static inline rdq_number rdq_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  const int32_t exponent = (int32_t)(bits >> 23 & 255);
  return exponent == 0 ? 0 : rdq_placed((bits & 0x7FFFFF) | 0x800000, exponent - 150, bits >> 31 != 0);
}

/* The float32 nearest to (float)x times factor. */
static inline rdq_number rdq_product(int32_t x, float factor) {
  uint32_t bits;
  memcpy(&bits, &factor, sizeof bits);
  uint64_t v = x < 0 ? (uint64_t)(-(int64_t)x) : (uint64_t)x;
  int32_t power = (int32_t)(bits >> 23 & 255) - 150, drop = rdq_bit_length(v) - 24;
  if (v == 0 || power == -150) return 0;
  if (drop > 0) { /* of x to float32 */
    v = rdq_shifted(v, drop);
    power += drop;
  }
  v *= (bits & 0x7FFFFF) | 0x800000;
  drop = rdq_bit_length(v) - 24; /* of the product */
  if (drop > 0) {
    v = rdq_shifted(v, drop);
    power += drop;
  }
  return rdq_placed(v, power, (x < 0) != (bits >> 31 != 0));
}

static inline rdq_number rdq_sum(rdq_number a, rdq_number b) { return a + b; } /* rdq_nearest rounds it */

static inline int32_t rdq_nearest(rdq_number number) {
  uint64_t v = number < 0 ? (uint64_t)-number : (uint64_t)number;
  const int32_t drop = rdq_bit_length(v) - 24;
  if (drop > 0) v = rdq_shifted(v, drop) << drop; /* to float32 */
  const int32_t q = (int32_t)rdq_shifted(v, 40);
  return number < 0 ? -q : q;
}

#endif

/* nearest((float)x * factor), or a number beyond +-255 of its sign. Without an FPU: from the whole product, where it does not
 * lie so near to a half that the roundings to float32 decide. */
RDQ_INLINE int32_t rdq_scaled(int32_t x, float factor) {
#if !RDQ_FLOAT
  uint32_t bits;
  memcpy(&bits, &factor, sizeof bits);
  const uint32_t shift = 125 - (bits >> 23); /* factor = mantissa * 2^-(25 + shift) */
  if (shift < 32) {
    const int64_t product = (int64_t)x * (int32_t)((bits << 7 & 0x3FFFFF80) | 0x40000000);
    const int32_t high = (int32_t)(product >> 32);
    const uint32_t fraction = (uint32_t)product >> shift | (uint32_t)high << 1 << (31 - shift);
    if (fraction - (0x80000000U - 0x40000U) > 0x80000U) return (high >> shift) + (int32_t)(fraction >> 31);
  }
#endif
  return rdq_nearest(rdq_product(x, factor));
}

/* clamp(q + zero, low, high). */
RDQ_INLINE int32_t rdq_limited(int32_t q, int32_t zero, int32_t low, int32_t high) {
#if RDQ_FLOAT && RDQ_DSP
  const int32_t level = __ssat(__qadd(q, zero), 8); /* both saturate */
  return low > -128 || high < 127 ? rdq_clamp(level, low, high) : level;
#endif
  return rdq_clamp(q, low - zero, high - zero) + zero;
}

RDQ_INLINE int32_t rdq_level(rdq_number v, int32_t zero, int32_t low, int32_t high) {
  return rdq_limited(rdq_nearest(v), zero, low, high);
}

/* One plain level from one sum. Without an FPU that is much code, so there is one copy of it. */
#if RDQ_FLOAT
RDQ_INLINE int8_t rdq_plain(const rdq_epilogue *e, int32_t sum, float multiplier) {
  return (int8_t)rdq_limited(rdq_scaled(sum, multiplier), e->zero, e->low, e->high);
}
#else
int8_t rdq_plain(const rdq_epilogue *e, int32_t sum, float multiplier);
#endif

/* Whether levels follow from sums by multiplier, rounding and limits alone. */
static inline int rdq_is_plain(const rdq_epilogue *e, const int8_t *residual) {
  return e->offset == NULL && e->table == NULL && residual == NULL;
}

/* Whether those limits are int8's own. */
static inline int rdq_is_wide(const rdq_epilogue *e) { return e->low <= -128 && e->high >= 127; }

#if RDQ_MVE
/* clamp(nearest((float)sums * multipliers) + zero), four at a time. */
static inline int32x4_t rdq_four_levels(int32x4_t sums, float32x4_t multipliers, const rdq_epilogue *e) {
  const float32x4_t v = vmulq_f32(vcvtq_f32_s32(sums), multipliers);
  const int32x4_t q = vqaddq_n_s32(vcvtnq_s32_f32(v), e->zero);
  return vminq_s32(vmaxq_s32(q, vdupq_n_s32(e->low)), vdupq_n_s32(e->high));
}
#endif

/* One level from one sum, as rdq_epilogue says. `residual`: where this element's lies, or NULL. */
int8_t rdq_finish(const rdq_epilogue *e, int32_t sum, uint32_t channel, const int8_t *residual);

#endif
