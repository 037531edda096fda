/* One filter for each channel, four channels at a time. Taps outside the image read a pixel of x_zero in `scratch`. */
#include "rdq_round.h"
#include "rdq_simd.h"

#ifndef RDQ_MOST_TAPS
#define RDQ_MOST_TAPS 64 /* the Makefile says what the model needs; no model needs more than 64 */
#endif

/* Sums of channels c … c + 3 under one pixel. */
static inline void rdq_four_channels(const int8_t *const *taps, uint32_t count, const int8_t *w, uint32_t channels,
                                     uint32_t c, int32_t sums[4]) {
  int32_t s0 = sums[0], s1 = sums[1], s2 = sums[2], s3 = sums[3];
  w += c;
  for (const int8_t *const *end = taps + count; taps != end; taps++, w += channels) {
    const int8_t *p = *taps + c;
#if RDQ_DSP
    const rdq_word v = rdq_load(p), k = rdq_load(w);
    const int32_t v0 = rdq_even(v), v1 = rdq_odd(v), k0 = rdq_even(k), k1 = rdq_odd(k);
    s0 = __smlabb(v0, k0, s0);
    s1 = __smlabb(v1, k1, s1);
    s2 = __smlatt(v0, k0, s2);
    s3 = __smlatt(v1, k1, s3);
#else
    s0 += p[0] * w[0];
    s1 += p[1] * w[1];
    s2 += p[2] * w[2];
    s3 += p[3] * w[3];
#endif
  }
  sums[0] = s0;
  sums[1] = s1;
  sums[2] = s2;
  sums[3] = s3;
}

void rdq_depthwise(const rdq_layer *layer, const int8_t *x, const int8_t *residual, int8_t *y, int8_t *scratch) {
  const rdq_window *m = &layer->window;
  const rdq_epilogue *e = &layer->epilogue;
  const uint32_t channels = m->out_c, count = (uint32_t)m->kernel_h * m->kernel_w;
  const int8_t *taps[RDQ_MOST_TAPS];
  memset(scratch, m->x_zero, channels);
  for (uint32_t pixel = 0; pixel < (uint32_t)m->out_h * m->out_w; pixel++) {
    const int32_t top = (int32_t)(pixel / m->out_w) * m->stride_h - m->pad_top;
    const int32_t left = (int32_t)(pixel % m->out_w) * m->stride_w - m->pad_left;
    const int8_t **next = taps;
    for (int32_t i = 0, row = top; i < m->kernel_h; i++, row += m->dilation_h) {
      for (int32_t j = 0, column = left; j < m->kernel_w; j++, column += m->dilation_w) {
        const int inside = row >= 0 && row < m->in_h && column >= 0 && column < m->in_w;
        *next++ = inside ? x + ((uint32_t)row * m->in_w + (uint32_t)column) * channels : scratch;
      }
    }
    uint32_t c = 0;
    for (; c + 4 <= channels; c += 4) {
      int32_t sums[4] = {e->bias[c], e->bias[c + 1], e->bias[c + 2], e->bias[c + 3]};
      rdq_four_channels(taps, count, layer->weights, channels, c, sums);
      for (uint32_t i = 0; i < 4; i++)
        y[c + i] = rdq_finish(e, sums[i], c + i, residual == NULL ? NULL : residual + c + i);
    }
    for (; c < channels; c++) {
      int32_t sum = e->bias[c];
      for (uint32_t t = 0; t < count; t++) sum += taps[t][c] * layer->weights[t * channels + c];
      y[c] = rdq_finish(e, sum, c, residual == NULL ? NULL : residual + c);
    }
    y += channels;
    if (residual != NULL) residual += channels;
  }
}
