/* Fully connected layers: the levels of x are widened as they are read. */
#include "rdq_round.h"

void rdq_dense(const rdq_layer *layer, const int8_t *x, const int8_t *residual, int8_t *y) {
  const uint32_t taps = layer->window.in_c, filters = layer->window.out_c;
  const rdq_epilogue *e = &layer->epilogue;
  const int8_t *w = layer->weights;
  for (uint32_t k = 0; k < filters; k += 2) {
    const uint32_t pair = filters - k < 2 ? 1 : 2, step = 4 * pair;
    int32_t s0 = e->bias[k], s1 = pair == 2 ? e->bias[k + 1] : 0;
    for (uint32_t i = 0; i < taps; i += 4, w += step) {
      const int8_t *second = pair == 2 ? w + 4 : w;
#if RDQ_DSP
      const rdq_word a = rdq_load(w), b = rdq_load(second), p = rdq_load(x + i);
      const int32_t p0 = rdq_even(p), p1 = rdq_odd(p);
      s0 = __smlad(rdq_even(a), p0, s0);
      s1 = __smlad(rdq_even(b), p0, s1);
      s0 = __smlad(rdq_odd(a), p1, s0);
      s1 = __smlad(rdq_odd(b), p1, s1);
#else
      for (uint32_t j = 0; j < 4; j++) {
        s0 += w[j] * x[i + j];
        s1 += second[j] * x[i + j];
      }
#endif
    }
    y[k] = rdq_finish(e, s0, k, residual == NULL ? NULL : residual + k);
    if (pair == 2) y[k + 1] = rdq_finish(e, s1, k + 1, residual == NULL ? NULL : residual + k + 1);
  }
}
