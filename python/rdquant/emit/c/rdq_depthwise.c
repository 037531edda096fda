/* One filter for each channel, four channels at a time. Taps outside the image read a pixel of x_zero in `scratch`. */
#include "rdq_round.h"

#ifndef RDQ_MOST_TAPS
#define RDQ_MOST_TAPS 64 /* the Makefile says what the model needs; no model needs more than 64 */
#endif

#if RDQ_DSP && defined(__OPTIMIZE__) && defined(__arm__)
#define RDQ_TAP                         \
  "ldr %[v], [%[taps]], #4\n"           \
  "ldr %[k], [%[w]], #4\n"              \
  "ldr %[v], [%[v], %[c]]\n"            \
  "sxtb16 %[l], %[k]\n"                 \
  "sxtb16 %[u], %[v]\n"                 \
  "sxtb16 %[k], %[k], ror #8\n"         \
  "sxtb16 %[v], %[v], ror #8\n"         \
  "smlabb %[s0], %[u], %[l], %[s0]\n"   \
  "smlatt %[s2], %[u], %[l], %[s2]\n"   \
  "smlabb %[s1], %[v], %[k], %[s1]\n"   \
  "smlatt %[s3], %[v], %[k], %[s3]\n"
#define RDQ_LOOP(body)                                                                                      \
  __asm volatile("1:\n" body "cmp %[taps], %[end]\nbne 1b\n"                                               \
                 : [taps] "+r"(taps), [w] "+r"(w), [v] "=&r"(v), [u] "=&r"(u), [k] "=&r"(k), [l] "=&r"(l),  \
                   [s0] "+r"(s0), [s1] "+r"(s1), [s2] "+r"(s2), [s3] "+r"(s3)                               \
                 : [end] "r"(end), [c] "r"(c)                                                               \
                 : "memory", "cc")
#endif

/* Sums of four channels under one pixel, from channel c on; w points to their weights, tap by tap. */
static inline void rdq_four_channels(const int8_t *const *taps, uint32_t count, const int8_t *w, uint32_t c,
                                     int32_t sums[4]) {
  const int8_t *const *end = taps + count;
  int32_t s0 = sums[0], s1 = sums[1], s2 = sums[2], s3 = sums[3];
#ifdef RDQ_TAP
  int32_t v, u, k, l;
  if (count % 3 == 0) {
    RDQ_LOOP(RDQ_TAP RDQ_TAP RDQ_TAP);
  } else {
    RDQ_LOOP(RDQ_TAP);
  }
#else
  for (; taps != end; taps++, w += 4) {
    const int8_t *p = *taps + c;
    s0 += p[0] * w[0];
    s1 += p[1] * w[1];
    s2 += p[2] * w[2];
    s3 += p[3] * w[3];
  }
#endif
  sums[0] = s0;
  sums[1] = s1;
  sums[2] = s2;
  sums[3] = s3;
}

/* All channels of one pixel, whose taps lie at `taps`. */
static void rdq_pixel(const rdq_layer *layer, const int8_t *const *taps, uint32_t count, const int8_t *residual,
                      int8_t *y) {
  const rdq_epilogue *e = &layer->epilogue;
  const uint32_t channels = layer->window.out_c;
  const int32_t *bias = e->bias;
  const rdq_limits limits = rdq_limits_of(e);
  const int plain = rdq_is_plain(e, residual);
  uint32_t c = 0;
  for (; c + 4 <= channels; c += 4) {
    int32_t sums[4] = {bias[c], bias[c + 1], bias[c + 2], bias[c + 3]};
    rdq_four_channels(taps, count, layer->weights + c * count, c, sums);
    if (plain) {
      const float *m = e->multiplier + c;
      rdq_two_levels(sums[0], sums[1], m[0], m[1], &limits, y + c);
      rdq_two_levels(sums[2], sums[3], m[2], m[3], &limits, y + c + 2);
      continue;
    }
    const int32_t found[4] = {sums[0], sums[1], sums[2], sums[3]};
    for (uint32_t i = 0; i < 4; i++)
      y[c + i] = rdq_finish(e, found[i], c + i, residual == NULL ? NULL : residual + c + i);
  }
  const int8_t *rest = layer->weights + c * count; /* tap by tap, too */
  for (const uint32_t step = channels - c; c < channels; c++, rest++) {
    int32_t sum = bias[c];
    for (uint32_t t = 0; t < count; t++) sum += taps[t][c] * rest[t * step];
    y[c] = rdq_finish(e, sum, c, residual == NULL ? NULL : residual + c);
  }
}

void rdq_depthwise(const rdq_layer *layer, const int8_t *x, const int8_t *residual, int8_t *y, int8_t *scratch) {
  const rdq_window *m = &layer->window;
  const uint32_t channels = m->out_c, count = (uint32_t)m->kernel_h * m->kernel_w;
  const int8_t *taps[RDQ_MOST_TAPS];
  memset(scratch, m->x_zero, channels);
  for (uint32_t pixel = 0; pixel < (uint32_t)m->out_h * m->out_w; pixel++) {
    const int32_t left = (int32_t)(pixel % m->out_w) * m->stride_w - m->pad_left, step = m->dilation_w * (int32_t)channels;
    int32_t row = (int32_t)(pixel / m->out_w) * m->stride_h - m->pad_top;
    const int8_t **next = taps;
    for (uint32_t i = m->kernel_h; i != 0; i--, row += m->dilation_h) {
      const uint32_t width = row >= 0 && row < m->in_h ? m->in_w : 0; /* a row outside has no pixels */
      int32_t place = (row * m->in_w + left) * (int32_t)channels, column = left;
      for (uint32_t j = m->kernel_w; j != 0; j--, column += m->dilation_w, place += step)
        *next++ = (uint32_t)column < width ? x + place : scratch;
    }
    rdq_pixel(layer, taps, count, residual, y);
    y += channels;
    if (residual != NULL) residual += channels;
  }
}
