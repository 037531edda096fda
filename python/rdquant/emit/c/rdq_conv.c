/* Dense convolutions: two pixels by two filters at a time. The taps under both pixels are first widened to 16 bits, so
 * that y may be written over what of x is no longer needed. */
#include "rdq_round.h"
#include "rdq_simd.h"

/* Sums of two filters (w, interleaved in fours) under the pixels p and q. */
static inline void rdq_two_by_two(const int8_t *w, const int16_t *p, const int16_t *q, uint32_t taps,
                                  int32_t sums[4]) {
  int32_t s0 = sums[0], s1 = sums[1], s2 = sums[2], s3 = sums[3];
#if RDQ_DSP
  const int8_t *end = w + 2 * taps;
  while (w != end) {
    const rdq_word a = rdq_load(w), b = rdq_load(w + 4);
    const int32_t p0 = (int32_t)rdq_load(p), p1 = (int32_t)rdq_load(p + 2);
    const int32_t q0 = (int32_t)rdq_load(q), q1 = (int32_t)rdq_load(q + 2);
    const int32_t a0 = rdq_even(a), a1 = rdq_odd(a), b0 = rdq_even(b), b1 = rdq_odd(b);
    w += 8;
    p += 4;
    q += 4;
    s0 = __smlad(a0, p0, s0);
    s1 = __smlad(b0, p0, s1);
    s2 = __smlad(a0, q0, s2);
    s3 = __smlad(b0, q0, s3);
    s0 = __smlad(a1, p1, s0);
    s1 = __smlad(b1, p1, s1);
    s2 = __smlad(a1, q1, s2);
    s3 = __smlad(b1, q1, s3);
  }
#else
  for (uint32_t i = 0; i < taps; i += 4, w += 4) {
    for (uint32_t j = i; j < i + 4; j++, w++) {
      const int32_t a = w[0], b = w[4];
      s0 += a * p[j];
      s1 += b * p[j];
      s2 += a * q[j];
      s3 += b * q[j];
    }
  }
#endif
  sums[0] = s0;
  sums[1] = s1;
  sums[2] = s2;
  sums[3] = s3;
}

/* The same for the last filter of an odd number. */
static inline void rdq_one_by_two(const int8_t *w, const int16_t *p, const int16_t *q, uint32_t taps,
                                  int32_t sums[4]) {
  int32_t s0 = sums[0], s2 = sums[2];
#if RDQ_DSP
  for (uint32_t i = 0; i < taps; i += 4) {
    const rdq_word a = rdq_load(w + i);
    s0 = __smlad(rdq_even(a), (int32_t)rdq_load(p + i), s0);
    s2 = __smlad(rdq_even(a), (int32_t)rdq_load(q + i), s2);
    s0 = __smlad(rdq_odd(a), (int32_t)rdq_load(p + i + 2), s0);
    s2 = __smlad(rdq_odd(a), (int32_t)rdq_load(q + i + 2), s2);
  }
#else
  for (uint32_t i = 0; i < taps; i++) {
    s0 += w[i] * p[i];
    s2 += w[i] * q[i];
  }
#endif
  sums[0] = s0;
  sums[2] = s2;
}

/* `count` levels, a multiple of four, as 16 bits; in pairs as rdq_even and rdq_odd give them where there is SIMD. `to` may
 * begin where `count` bytes before the levels lie. */
static int16_t *rdq_widen(const int8_t *from, uint32_t count, int16_t *to) {
#if RDQ_DSP
  for (const int8_t *end = from + count; from != end; from += 4, to += 4) {
    const rdq_word v = rdq_load(from);
    const int32_t even = rdq_even(v), odd = rdq_odd(v);
    memcpy(to, &even, sizeof even);
    memcpy(to + 2, &odd, sizeof odd);
  }
#else
  for (uint32_t i = 0; i < count; i++) *to++ = from[i];
#endif
  return to;
}

static int16_t *rdq_spread(int16_t level, uint32_t count, int16_t *to) {
  while (count-- != 0) *to++ = level;
  return to;
}

/* Taps of one row under a pixel into `to`, whose channels are a multiple of four. */
static int16_t *rdq_row(const rdq_window *m, const int8_t *row, int32_t column, int16_t *to) {
  const uint32_t c = m->in_c, all = m->kernel_w * c;
  if (m->dilation_w == 1 && column >= 0 && column + m->kernel_w <= m->in_w)
    return rdq_widen(row + (uint32_t)column * c, all, to);
  for (uint32_t j = 0; j < m->kernel_w; j++, column += m->dilation_w) {
    const int inside = column >= 0 && column < m->in_w;
    to = inside ? rdq_widen(row + (uint32_t)column * c, c, to) : rdq_spread(m->x_zero, c, to);
  }
  return to;
}

/* The taps under one pixel, widened. */
static void rdq_patch(const rdq_window *m, const int8_t *x, int32_t row, int32_t column, uint32_t taps, int16_t *to) {
  const uint32_t line = (uint32_t)m->in_w * m->in_c;
  if (m->in_c % 4 == 0) {
    for (uint32_t i = 0; i < m->kernel_h; i++, row += m->dilation_h) {
      const int inside = row >= 0 && row < m->in_h;
      to = inside ? rdq_row(m, x + (uint32_t)row * line, column, to)
                  : rdq_spread(m->x_zero, (uint32_t)m->kernel_w * m->in_c, to);
    }
    return;
  }
  int8_t *bytes = (int8_t *)to + taps, *next = bytes;
  for (uint32_t i = 0; i < m->kernel_h; i++, row += m->dilation_h) {
    int32_t at = column;
    for (uint32_t j = 0; j < m->kernel_w; j++, at += m->dilation_w) {
      const int inside = row >= 0 && row < m->in_h && at >= 0 && at < m->in_w;
      const int8_t *from = x + (inside ? (uint32_t)row * line + (uint32_t)at * m->in_c : 0);
      for (uint32_t c = 0; c < m->in_c; c++) *next++ = inside ? from[c] : (int8_t)m->x_zero;
    }
  }
  while (next != bytes + taps) *next++ = 0;
  rdq_widen(bytes, taps, to);
}

void rdq_conv(const rdq_layer *layer, const int8_t *x, const int8_t *residual, int8_t *y, int16_t *scratch) {
  const rdq_window *m = &layer->window;
  const rdq_epilogue *e = &layer->epilogue;
  const uint32_t taps = ((uint32_t)m->kernel_h * m->kernel_w * m->in_c + 3) / 4 * 4, filters = m->out_c;
  const uint32_t pixels = (uint32_t)m->out_h * m->out_w;
  int32_t row = -m->pad_top, column = -m->pad_left;
  uint32_t left = m->out_w;
  for (uint32_t pixel = 0; pixel < pixels; pixel += 2) {
    const uint32_t together = pixels - pixel < 2 ? 1 : 2;
    for (uint32_t i = 0; i < together; i++) {
      rdq_patch(m, x, row, column, taps, scratch + i * taps);
      column += m->stride_w;
      if (--left == 0) {
        left = m->out_w;
        column = -m->pad_left;
        row += m->stride_h;
      }
    }
    const int16_t *second = scratch + (together - 1) * taps; /* a last pixel alone is computed twice */
    const int8_t *w = layer->weights;
    for (uint32_t k = 0; k < filters; k += 2, w += 2 * taps) {
      const uint32_t pair = filters - k < 2 ? 1 : 2;
      const int32_t b0 = e->bias[k], b1 = pair == 2 ? e->bias[k + 1] : 0;
      int32_t sums[4] = {b0, b1, b0, b1};
      if (pair == 2) {
        rdq_two_by_two(w, scratch, second, taps, sums);
      } else {
        rdq_one_by_two(w, scratch, second, taps, sums);
      }
      for (uint32_t i = 0; i < together; i++) {
        for (uint32_t j = 0; j < pair; j++) {
          const uint32_t at = i * filters + k + j;
          y[at] = rdq_finish(e, sums[2 * i + j], k + j, residual == NULL ? NULL : residual + at);
        }
      }
    }
    y += 2 * filters;
    if (residual != NULL) residual += 2 * filters;
  }
}
