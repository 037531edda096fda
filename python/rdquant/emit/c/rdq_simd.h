/* Products of 16-bit pairs where the core has them (Cortex-M4, M7, M33, M55), plain C elsewhere. */
#ifndef RDQ_SIMD_H
#define RDQ_SIMD_H

#include <string.h>

#include "rdq.h"

#if !defined(RDQ_DSP)
#if defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP
#define RDQ_DSP 1
#else
#define RDQ_DSP 0
#endif
#endif

#if RDQ_DSP
#include <arm_acle.h>

typedef uint32_t rdq_word; /* four levels, or two of 16 bits */

static inline rdq_word rdq_load(const void *p) {
  rdq_word v;
  memcpy(&v, p, sizeof v);
  return v;
}

/* Where the i-th of four levels lies when they have been widened. */
#define RDQ_PLACE(i) ((i) == 1 ? 2 : (i) == 2 ? 1 : (i))

/* Levels 0 and 2 of four, and 1 and 3, as pairs of 16 bits. */
static inline int32_t rdq_even(rdq_word v) { return (int32_t)__sxtb16(v); }
static inline int32_t rdq_odd(rdq_word v) {
#if defined(__arm__)
  int32_t odd;
  __asm("sxtb16 %0, %1, ror #8" : "=r"(odd) : "r"(v)); /* the intrinsic has no rotation */
  return odd;
#else
  return (int32_t)__sxtb16(v >> 8 | v << 24);
#endif
}
#else
#define RDQ_PLACE(i) (i)
#endif

#endif
