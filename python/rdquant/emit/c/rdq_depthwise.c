/* One filter for each channel, four channels at a time. Taps outside the image read a pixel of x_zero in `scratch`. */
#include "rdq_round.h"

#ifndef RDQ_MOST_TAPS
#define RDQ_MOST_TAPS 64 /* the Makefile says what the model needs; no model needs more than 64 */
#endif

/* What rdq_fours needs; it moves pixel, weights, bias, multiplier and y on. Assembly below knows the places. */
typedef struct {
  const uintptr_t *taps, *end; /* from `pixel` */
  const int8_t *weights;       /* tap by tap, four channels each */
  uintptr_t pixel;             /* the address that taps are counted from, of these channels */
  uint32_t entry;              /* taps % 3 */
  const int32_t *bias;
  const float *multiplier;
  int8_t *y;
  const int8_t *last; /* where y ends; NULL: only sums of four channels are wanted */
  int32_t zero;
  int32_t sums[4];
  const rdq_epilogue *epilogue;
} rdq_four;

#if RDQ_DSP && !RDQ_MVE && defined(__arm__) && defined(__GNUC__)
#define RDQ_TAKES(e) (RDQ_FLOAT && rdq_is_wide(e))
#define RDQ_TAP                  \
  "ldr r4, [r0], #4\n"           \
  "ldr r6, [r1], #4\n"           \
  "ldr r4, [r2, r4]\n"           \
  "sxtb16 r7, r6\n"              \
  "sxtb16 r5, r4\n"              \
  "sxtb16 r6, r6, ror #8\n"      \
  "sxtb16 r4, r4, ror #8\n"      \
  "smlabb r8, r5, r7, r8\n"      \
  "smlatt r10, r5, r7, r10\n"    \
  "smlabb r9, r4, r6, r9\n"      \
  "smlatt r11, r4, r6, r11\n"
#if RDQ_FLOAT
/* Levels of the four sums; then the next four channels. */
#define RDQ_FOUR_LEVELS          \
  "ldr r12, [lr, #32]\n"         \
  "cmp r12, #0\n"                \
  "beq 9f\n"                     \
  "ldr r4, [lr, #24]\n"          \
  "vmov s0, s1, r8, r9\n"        \
  "vmov s2, s3, r10, r11\n"      \
  "vldmia r4!, {s4-s7}\n"        \
  "vcvt.f32.s32 s0, s0\n"        \
  "vcvt.f32.s32 s1, s1\n"        \
  "vcvt.f32.s32 s2, s2\n"        \
  "vcvt.f32.s32 s3, s3\n"        \
  "vmul.f32 s0, s0, s4\n"        \
  "vmul.f32 s1, s1, s5\n"        \
  "vmul.f32 s2, s2, s6\n"        \
  "vmul.f32 s3, s3, s7\n"        \
  "vcvtr.s32.f32 s0, s0\n"       \
  "vcvtr.s32.f32 s1, s1\n"       \
  "vcvtr.s32.f32 s2, s2\n"       \
  "vcvtr.s32.f32 s3, s3\n"       \
  "vmov r8, r9, s0, s1\n"        \
  "vmov r10, r11, s2, s3\n"      \
  "ldr r5, [lr, #36]\n"          \
  "ldr r6, [lr, #28]\n"          \
  "str r4, [lr, #24]\n"          \
  "qadd r8, r8, r5\n"            \
  "qadd r9, r9, r5\n"            \
  "qadd r10, r10, r5\n"          \
  "qadd r11, r11, r5\n"          \
  "ssat r8, #8, r8\n"            \
  "ssat r9, #8, r9\n"            \
  "ssat r10, #8, r10\n"          \
  "ssat r11, #8, r11\n"          \
  "bfi r8, r9, #8, #8\n"         \
  "bfi r10, r11, #8, #8\n"       \
  "pkhbt r8, r8, r10, lsl #16\n" \
  "str r8, [r6], #4\n"           \
  "str r6, [lr, #28]\n"          \
  "cmp r6, r12\n"                \
  "bne 1b\n"                     \
  "pop {r4-r11, pc}\n"
#else
#define RDQ_FOUR_LEVELS
#endif

/* Three taps a round. What is left over comes first, by a jump into the round. */
__attribute__((naked)) static void rdq_fours(rdq_four *q __attribute__((unused))) {
  __asm volatile(
      "push {r4-r11, lr}\n"
      "mov lr, r0\n"
      "ldrd r1, r2, [lr, #8]\n"
      "1:\n"
      "ldr r4, [lr, #20]\n"
      "ldrd r0, r3, [lr]\n"
      "ldm r4!, {r8-r11}\n"
      "str r4, [lr, #20]\n"
      "ldr r4, [lr, #16]\n"
      "tbb [pc, r4]\n"
      "2: .byte (3f - 2b) / 2, (5f - 2b) / 2, (4f - 2b) / 2, 0\n"
      "3:\n" RDQ_TAP "4:\n" RDQ_TAP "5:\n" RDQ_TAP
      "cmp r0, r3\n"
      "bne 3b\n"
      "add r2, r2, #4\n" RDQ_FOUR_LEVELS
      "9:\n"
      "strd r1, r2, [lr, #8]\n"
      "strd r8, r9, [lr, #40]\n"
      "strd r10, r11, [lr, #48]\n"
      "pop {r4-r11, pc}\n");
}

#else
#define RDQ_TAKES(e) 1

#if RDQ_MVE
/* Sums of four channels. */
static inline int32x4_t rdq_sums(rdq_four *q) {
  int32x4_t sums = vldrwq_s32(q->bias);
  const int8_t *w = q->weights;
  for (const uintptr_t *tap = q->taps; tap != q->end; tap++, w += 4)
    sums = vaddq_s32(sums, vmulq_s32(vldrbq_s32((const int8_t *)(q->pixel + *tap)), vldrbq_s32(w)));
  q->weights = w;
  return sums;
}

/* Levels of eight. */
static inline void rdq_eight(rdq_four *q) {
  const int32x4x2_t bias = vld2q_s32(q->bias);
  const float32x4x2_t multipliers = vld2q_f32(q->multiplier);
  const uint32_t block = 4 * (uint32_t)(q->end - q->taps); /* of four channels' weights */
  const int8_t *w = q->weights;
  int32x4_t even = bias.val[0], odd = bias.val[1];
  uint16x8_t at = viwdupq_n_u16(0, 4, 1);
  at = vaddq_m_n_u16(at, at, (uint16_t)block, 0xFF00); /* 0, 1, 2, 3, and those of the next four */
  for (const uintptr_t *tap = q->taps; tap != q->end; tap++, w += 4) {
    const int16x8_t v = vldrbq_s16((const int8_t *)(q->pixel + *tap)), f = vldrbq_gather_offset_s16(w, at);
    even = vaddq_s32(even, vmullbq_int_s16(v, f));
    odd = vaddq_s32(odd, vmulltq_int_s16(v, f));
  }
  const int16x8_t levels = vreinterpretq_s16_s32(rdq_four_levels(even, multipliers.val[0], q->epilogue));
  vstrbq_s16(q->y, vmovntq_s32(levels, rdq_four_levels(odd, multipliers.val[1], q->epilogue)));
  q->weights = w + block;
}
#else
static inline void rdq_sums(rdq_four *q, int32_t sums[4]) {
  int32_t s0 = q->bias[0], s1 = q->bias[1], s2 = q->bias[2], s3 = q->bias[3];
  const int8_t *w = q->weights;
  for (const uintptr_t *tap = q->taps; tap != q->end; tap++, w += 4) {
    const int8_t *p = (const int8_t *)(q->pixel + *tap);
    s0 += p[0] * w[0];
    s1 += p[1] * w[1];
    s2 += p[2] * w[2];
    s3 += p[3] * w[3];
  }
  q->weights = w;
  sums[0] = s0;
  sums[1] = s1;
  sums[2] = s2;
  sums[3] = s3;
}
#endif

static void rdq_fours(rdq_four *q) {
  do {
    uint32_t done = 4;
#if RDQ_MVE
    if (q->last == NULL) {
      vstrwq_s32(q->sums, rdq_sums(q));
    } else if (q->last - q->y >= 8) {
      rdq_eight(q);
      done = 8;
    } else {
      vstrbq_s32(q->y, rdq_four_levels(rdq_sums(q), vldrwq_f32(q->multiplier), q->epilogue));
    }
#else
    const rdq_epilogue *e = q->epilogue;
    rdq_sums(q, q->sums);
    for (uint32_t i = 0; q->last != NULL && i < 4; i++)
      q->y[i] = rdq_plain(e, q->sums[i], q->multiplier[i]);
#endif
    q->pixel += done;
    q->bias += done;
    if (q->last == NULL) return;
    q->multiplier += done;
    q->y += done;
  } while (q->y != q->last);
}
#endif

/* All channels of one pixel. */
static void rdq_pixel(rdq_four *q, uint32_t channels, int plain, const int8_t *residual, int8_t *y) {
  const rdq_epilogue *e = q->epilogue;
  const uint32_t fours = channels / 4 * 4;
  uint32_t c = 0;
  if (plain && fours != 0) {
    q->multiplier = e->multiplier;
    q->y = y;
    q->last = y + fours;
    rdq_fours(q);
    c = fours;
  }
  q->last = NULL;
  const uint32_t step = channels - fours; /* channels left over lie tap by tap, too */
  while (c < channels) {
    const uint32_t count = c < fours ? 4 : 1;
    if (count == 4) {
      rdq_fours(q);
    } else {
      const int8_t *w = q->weights++;
      q->sums[0] = e->bias[c];
      for (const uintptr_t *tap = q->taps; tap != q->end; tap++, w += step)
        q->sums[0] += *(const int8_t *)(q->pixel + *tap) * *w;
      q->pixel++;
    }
    for (uint32_t i = 0; i < count; i++, c++)
      y[c] = rdq_finish(e, q->sums[i], c, residual == NULL ? NULL : residual + c);
  }
}

/* Where the taps of the window at (row, column) lie; `outside` for those outside the image. */
static void rdq_find(const rdq_window *m, int32_t row, int32_t column, uintptr_t outside, uintptr_t *taps) {
  for (uint32_t i = m->kernel_h; i != 0; i--, row += m->dilation_h) {
    int32_t at = column;
    for (uint32_t j = m->kernel_w; j != 0; j--, at += m->dilation_w) {
      const int inside = row >= 0 && row < m->in_h && at >= 0 && at < m->in_w;
      *taps++ = inside ? (uintptr_t)((uint32_t)(row * m->in_w + at) * m->in_c) : outside;
    }
  }
}

void rdq_depthwise(const rdq_layer *layer, const int8_t *x, const int8_t *residual, int8_t *y, int8_t *scratch) {
  const rdq_window *m = &layer->window;
  const rdq_epilogue *e = &layer->epilogue;
  const uint32_t channels = m->out_c, count = (uint32_t)m->kernel_h * m->kernel_w;
  const int32_t rows = m->in_h - (m->kernel_h - 1) * m->dilation_h, columns = m->in_w - (m->kernel_w - 1) * m->dilation_w;
  const int plain = rdq_is_plain(e, residual) && RDQ_TAKES(e);
  const uintptr_t outside = (uintptr_t)scratch - (uintptr_t)x;
  uintptr_t taps[RDQ_MOST_TAPS];
  int ready = 0; /* whether taps are those of a window inside, at (0, 0) */
  rdq_four q; /* the rest is set for each pixel */
  q.taps = taps;
  q.end = taps + count;
  q.entry = count % 3;
  q.zero = e->zero;
  q.epilogue = e;
  int32_t row = -m->pad_top;
  for (uint32_t c = 0; c < channels; c++) ((volatile int8_t *)scratch)[c] = (int8_t)m->x_zero; /* not by memset */
  for (uint32_t i = m->out_h; i != 0; i--, row += m->stride_h) {
    int32_t column = -m->pad_left;
    for (uint32_t j = m->out_w; j != 0; j--, column += m->stride_w) {
      const int inside = row >= 0 && row < rows && column >= 0 && column < columns;
      if (!inside) {
        rdq_find(m, row, column, outside, taps);
      } else if (!ready) {
        rdq_find(m, 0, 0, 0, taps);
      }
      ready = inside;
      q.pixel = (uintptr_t)x + (inside ? (uint32_t)(row * m->in_w + column) * channels : 0);
      q.weights = layer->weights;
      q.bias = e->bias;
      rdq_pixel(&q, channels, plain, residual, y);
      y += m->step;
      if (residual != NULL) residual += channels;
    }
  }
}
