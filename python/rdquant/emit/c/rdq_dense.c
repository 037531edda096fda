/* Fully connected layers: the levels of x are widened as they are read. */
#include "rdq_code.h"
#include "rdq_round.h"

#define RDQ_TAP(j)          \
  {                         \
    const int32_t v = x[j]; \
    s0 += w[j] * v;         \
    s1 += w[(j) + 4] * v;   \
  }

/* Sums of two filters, in fours by turns. Returns where the next two begin. */
static inline const int8_t *rdq_two(const int8_t *w, const int8_t *x, uint32_t taps, int32_t sums[2]) {
  int32_t s0 = sums[0], s1 = sums[1];
#if RDQ_MVE
  const uint32x4_t at = vidupq_n_u32(0, 8); /* fours of one filter */
  for (int32_t left = (int32_t)taps; left > 0; left -= 16, w += 32, x += 16) {
    const mve_pred16_t some = vctp8q((uint32_t)left);
    const int8x16_t v = vldrbq_z_s8(x, some);
    s0 = vmladavaq_s8(s0, (int8x16_t)vldrwq_gather_offset_z_s32((const int32_t *)(const void *)w, at, some), v);
    s1 = vmladavaq_s8(s1, (int8x16_t)vldrwq_gather_offset_z_s32((const int32_t *)(const void *)(w + 4), at, some), v);
  }
  sums[0] = s0;
  sums[1] = s1;
  return w - 2 * (-taps & 15);
#else
  const int8_t *end = x + taps;
  do {
#if RDQ_DSP
    const rdq_word a = rdq_load(w), b = rdq_load(w + 4), p = rdq_load(x);
    const int32_t p0 = rdq_even(p), p1 = rdq_odd(p);
    s0 = __smlad(rdq_even(a), p0, s0);
    s1 = __smlad(rdq_even(b), p0, s1);
    s0 = __smlad(rdq_odd(a), p1, s0);
    s1 = __smlad(rdq_odd(b), p1, s1);
#else
    RDQ_TAP(0)
    RDQ_TAP(1)
    RDQ_TAP(2)
    RDQ_TAP(3)
#endif
    x += 4;
    w += 8;
  } while (x != end);
  sums[0] = s0;
  sums[1] = s1;
  return w;
#endif
}

void rdq_dense(const rdq_layer *layer, const int8_t *x, const int8_t *residual, int8_t *y) {
  const uint32_t taps = layer->window.in_c, filters = layer->window.out_c;
  const rdq_epilogue *e = &layer->epilogue;
  const int8_t *w = layer->weights;
  for (uint32_t k = 0; k < filters; k += 2) {
    int32_t sums[2] = {e->bias[k], 0};
    const uint32_t pair = filters - k < 2 ? 1 : 2;
    if (pair == 2) {
      sums[1] = e->bias[k + 1];
      w = rdq_two(w, x, taps, sums);
    } else {
      for (uint32_t i = 0; i < taps; i++) sums[0] += w[i] * x[i];
    }
    for (uint32_t i = 0; i < pair; i++)
      y[k + i] = rdq_finish(e, sums[i], k + i, residual == NULL ? NULL : residual + k + i);
  }
}

void rdq_coded_dense(const rdq_layer *layer, const rdq_code *code, const int8_t *x, const int8_t *residual, int8_t *y) {
  const uint32_t taps = layer->window.in_c, filters = layer->window.out_c;
  const rdq_epilogue *e = &layer->epilogue;
  rdq_stream stream = rdq_begin(code);
  for (uint32_t k = 0; k < filters; k += 2) {
    const uint32_t pair = filters - k < 2 ? 1 : 2;
    int32_t sums[2] = {e->bias[k], pair == 2 ? e->bias[k + 1] : 0};
    for (uint32_t i = 0; i < taps; i += 4) {
      for (uint32_t f = 0; f < pair; f++) {
        int32_t sum = sums[f];
        for (uint32_t j = i; j < i + 4; j++) sum += rdq_take(&stream) * x[j];
        sums[f] = sum;
      }
    }
    for (uint32_t i = 0; i < pair; i++)
      y[k + i] = rdq_finish(e, sums[i], k + i, residual == NULL ? NULL : residual + k + i);
  }
}
