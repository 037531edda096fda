/* What the core has: an FPU, products of 16-bit pairs (Cortex-M4, M7, M33), vectors (Helium, Cortex-M55). Plain C elsewhere. */
#ifndef RDQ_SIMD_H
#define RDQ_SIMD_H

#include <string.h>

#include "rdq.h"

#ifndef RDQ_FLOAT
#if defined(__ARM_FP) && (__ARM_FP & 4)
#define RDQ_FLOAT 1
#elif defined(__SSE2__) || defined(__aarch64__)
#define RDQ_FLOAT 1
#else
#define RDQ_FLOAT 0
#endif
#endif

#ifndef RDQ_MVE
#if defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 2) && RDQ_FLOAT
#define RDQ_MVE 1
#else
#define RDQ_MVE 0
#endif
#endif

/* A function that is not worth its copies. */
#if defined(__GNUC__)
#define RDQ_ONCE __attribute__((noinline))
#else
#define RDQ_ONCE
#endif

#if RDQ_MVE
#include <arm_mve.h>
#endif

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
#endif

#endif
