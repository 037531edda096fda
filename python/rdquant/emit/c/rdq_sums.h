/* Sums of one filter under four pixels at a time, the inner loop of dense convolutions. */
#ifndef RDQ_SUMS_H
#define RDQ_SUMS_H

#include "rdq_round.h"

#ifndef RDQ_ASSEMBLY
#if RDQ_DSP && !RDQ_MVE && defined(__arm__) && defined(__GNUC__)
#define RDQ_ASSEMBLY 1
#else
#define RDQ_ASSEMBLY 0
#endif
#endif

/* The taps under four pixels. Widened to 16 bits, four of each pixel in turn; where there are vectors, bytes, all of the first
 * pixel and then all of the next. */
#if RDQ_MVE
typedef int8_t rdq_tap;
#else
typedef int16_t rdq_tap;
#endif

/* What rdq_quads needs; it moves weights, bias, multiplier and y on. Assembly below knows the places. */
typedef struct {
  const int8_t *weights;
  const rdq_tap *patches;
  uint32_t taps, entry; /* taps / 4 % 4 */
  const int32_t *bias;
  const float *multiplier;
  int8_t *y;
  uint32_t step;      /* from pixel to pixel of y */
  const int8_t *last; /* where y ends; NULL: only the sums of one filter are wanted */
  int32_t zero;
  int32_t sums[4]; /* pixel by pixel */
  const rdq_epilogue *epilogue;
} rdq_quad;

#if RDQ_MVE
#define RDQ_TAKES(e) 1 /* whether rdq_quads makes plain levels by itself */

static inline void rdq_dots(rdq_quad *q, int32_t sums[4]) {
  const int8_t *w = q->weights, *p = q->patches;
  const uint32_t taps = q->taps;
  int32_t s0 = q->bias[0], s1 = s0, s2 = s0, s3 = s0;
  uint32_t left = taps;
  for (; left >= 16; left -= 16, w += 16, p += 16) {
    const int8x16_t f = vldrbq_s8(w);
    s0 = vmladavaq_s8(s0, f, vldrbq_s8(p));
    s1 = vmladavaq_s8(s1, f, vldrbq_s8(p + taps));
    s2 = vmladavaq_s8(s2, f, vldrbq_s8(p + 2 * taps));
    s3 = vmladavaq_s8(s3, f, vldrbq_s8(p + 3 * taps));
  }
  if (left != 0) {
    const mve_pred16_t some = vctp8q(left);
    const int8x16_t f = vldrbq_z_s8(w, some);
    s0 = vmladavaq_s8(s0, f, vldrbq_z_s8(p, some));
    s1 = vmladavaq_s8(s1, f, vldrbq_z_s8(p + taps, some));
    s2 = vmladavaq_s8(s2, f, vldrbq_z_s8(p + 2 * taps, some));
    s3 = vmladavaq_s8(s3, f, vldrbq_z_s8(p + 3 * taps, some));
  }
  q->weights += taps;
  q->bias++;
  sums[0] = s0;
  sums[1] = s1;
  sums[2] = s2;
  sums[3] = s3;
}

static void rdq_quads(rdq_quad *q) {
  if (q->last == NULL) {
    rdq_dots(q, q->sums);
    return;
  }
  const uint32x4_t to = vmulq_n_u32(vidupq_n_u32(0, 1), q->step);
  do {
    int32_t sums[4];
    rdq_dots(q, sums);
    int32x4_t v = vdupq_n_s32(sums[0]);
    v = vsetq_lane_s32(sums[1], v, 1);
    v = vsetq_lane_s32(sums[2], v, 2);
    v = vsetq_lane_s32(sums[3], v, 3);
    v = rdq_four_levels(v, vdupq_n_f32(*q->multiplier++), q->epilogue);
    vstrbq_scatter_offset_s32(q->y++, to, v);
  } while (q->y != q->last);
}

#elif RDQ_ASSEMBLY
#define RDQ_TAKES(e) (RDQ_FLOAT && rdq_is_wide(e))
/* Four taps of a filter under four pixels: 16 products in 13 instructions, which compilers do not find. */
#define RDQ_BLOCK            \
  "ldr r3, [r0], #4\n"       \
  "ldm r1!, {r4-r7}\n"       \
  "sxtb16 r2, r3\n"          \
  "sxtb16 r3, r3, ror #8\n"  \
  "smlad r8, r2, r4, r8\n"   \
  "smlad r9, r2, r6, r9\n"   \
  "smlad r8, r3, r5, r8\n"   \
  "smlad r9, r3, r7, r9\n"   \
  "ldm r1!, {r4-r7}\n"       \
  "smlad r10, r2, r4, r10\n" \
  "smlad r11, r2, r6, r11\n" \
  "smlad r10, r3, r5, r10\n" \
  "smlad r11, r3, r7, r11\n"
#if RDQ_FLOAT
/* Levels of the four sums; then the next filter. */
#define RDQ_FOUR_LEVELS      \
  "ldr r4, [lr, #32]\n"      \
  "cmp r4, #0\n"             \
  "beq 9f\n"                 \
  "ldr r2, [lr, #20]\n"      \
  "vmov s0, s1, r8, r9\n"    \
  "vmov s2, s3, r10, r11\n"  \
  "vldmia r2!, {s4}\n"       \
  "vcvt.f32.s32 s0, s0\n"    \
  "vcvt.f32.s32 s1, s1\n"    \
  "vcvt.f32.s32 s2, s2\n"    \
  "vcvt.f32.s32 s3, s3\n"    \
  "vmul.f32 s0, s0, s4\n"    \
  "vmul.f32 s1, s1, s4\n"    \
  "vmul.f32 s2, s2, s4\n"    \
  "vmul.f32 s3, s3, s4\n"    \
  "vcvtr.s32.f32 s0, s0\n"   \
  "vcvtr.s32.f32 s1, s1\n"   \
  "vcvtr.s32.f32 s2, s2\n"   \
  "vcvtr.s32.f32 s3, s3\n"   \
  "vmov r8, r9, s0, s1\n"    \
  "vmov r10, r11, s2, s3\n"  \
  "str r2, [lr, #20]\n"      \
  "ldrd r2, r3, [lr, #24]\n" \
  "ldr r5, [lr, #36]\n"      \
  "qadd r8, r8, r5\n"        \
  "qadd r9, r9, r5\n"        \
  "qadd r10, r10, r5\n"      \
  "qadd r11, r11, r5\n"      \
  "ssat r8, #8, r8\n"        \
  "ssat r9, #8, r9\n"        \
  "ssat r10, #8, r10\n"      \
  "ssat r11, #8, r11\n"      \
  "add r6, r2, r3, lsl #1\n" \
  "strb r9, [r2, r3]\n"      \
  "strb r10, [r6]\n"         \
  "strb r11, [r6, r3]\n"     \
  "strb r8, [r2], #1\n"      \
  "str r2, [lr, #24]\n"      \
  "cmp r2, r4\n"             \
  "bne 1b\n"                 \
  "pop {r4-r11, pc}\n"
#else
#define RDQ_FOUR_LEVELS
#endif

/* Sixteen taps a round. What is left over comes first, by a jump into the round. */
__attribute__((naked)) static void rdq_quads(rdq_quad *q __attribute__((unused))) {
  __asm volatile(
      "push {r4-r11, lr}\n"
      "mov lr, r0\n"
      "ldr r0, [lr]\n"
      "1:\n"
      "ldrd r3, r2, [lr, #12]\n"
      "ldr r8, [r2], #4\n"
      "str r2, [lr, #16]\n"
      "ldrd r1, r2, [lr, #4]\n"
      "mov r9, r8\n"
      "mov r10, r8\n"
      "mov r11, r8\n"
      "add r12, r0, r2\n"
      "tbb [pc, r3]\n"
      "2: .byte (3f - 2b) / 2, (6f - 2b) / 2, (5f - 2b) / 2, (4f - 2b) / 2\n"
      "3:\n" RDQ_BLOCK "4:\n" RDQ_BLOCK "5:\n" RDQ_BLOCK "6:\n" RDQ_BLOCK
      "cmp r0, r12\n"
      "bne 3b\n" RDQ_FOUR_LEVELS
      "9:\n"
      "str r0, [lr]\n"
      "strd r8, r9, [lr, #40]\n"
      "strd r10, r11, [lr, #48]\n"
      "pop {r4-r11, pc}\n");
}

#else
#define RDQ_TAKES(e) 1
#define RDQ_TAP(j)            \
  {                           \
    const int32_t v = w[j];   \
    s0 += v * p[j];           \
    s1 += v * p[(j) + 4];     \
    s2 += v * p[(j) + 8];     \
    s3 += v * p[(j) + 12];    \
  }

static void rdq_quads(rdq_quad *q) {
  const rdq_epilogue *e = q->epilogue;
  const int8_t *w = q->weights;
  do {
    int32_t s0 = *q->bias++, s1 = s0, s2 = s0, s3 = s0;
    const rdq_tap *p = q->patches;
    const int8_t *end = w + q->taps;
    do {
      RDQ_TAP(0)
      RDQ_TAP(1)
      RDQ_TAP(2)
      RDQ_TAP(3)
      w += 4;
      p += 16;
    } while (w != end);
    q->weights = w;
    q->sums[0] = s0;
    q->sums[1] = s1;
    q->sums[2] = s2;
    q->sums[3] = s3;
    if (q->last == NULL) return;
    const float m = *q->multiplier++;
    int8_t *y = q->y++;
    for (const int32_t *sum = q->sums; sum != q->sums + 4; sum++, y += q->step) *y = rdq_plain(e, *sum, m);
  } while (q->y != q->last);
}
#endif

#endif
