/* What comes after a sum, in full; kernels do the plain case by themselves. */
#include "rdq_round.h"

#if !RDQ_FLOAT
int8_t rdq_plain(const rdq_epilogue *e, int32_t sum, float multiplier) {
  return (int8_t)rdq_limited(rdq_scaled(sum, multiplier), e->zero, e->low, e->high);
}
#endif

int8_t rdq_finish(const rdq_epilogue *e, int32_t sum, uint32_t channel, const int8_t *residual) {
  const float m = e->multiplier[channel];
  int32_t q = e->offset == NULL ? rdq_plain(e, sum, m)
                                : rdq_level(rdq_sum(rdq_product(sum, m), rdq_of(e->offset[channel])), e->zero, e->low, e->high);
  if (e->table != NULL) q = e->table[(uint8_t)q];
  if (residual != NULL) {
    const rdq_number v = rdq_sum(rdq_product(q - e->a_zero, e->a_scale), rdq_product(*residual - e->b_zero, e->b_scale));
    q = rdq_level(v, e->sum_zero, e->sum_low, e->sum_high);
  }
  return (int8_t)q;
}
