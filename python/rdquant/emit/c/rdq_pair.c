/* Sums and products of two arrays of levels. */
#include "rdq_round.h"

static int32_t rdq_paired(const rdq_pair *p, int product, int32_t a, int32_t b) {
  return product ? rdq_scaled(a * b, p->a_scale)
                 : rdq_nearest(rdq_sum(rdq_product(a, p->a_scale), rdq_product(b, p->b_scale)));
}

static void rdq_each(const rdq_pair *p, int product, const int8_t *a, const int8_t *b, int8_t *y) {
  for (int32_t i = 0; i < p->size[0]; i++) {
    for (int32_t j = 0; j < p->size[1]; j++) {
      for (int32_t k = 0; k < p->size[2]; k++) {
        const int8_t *from = a + i * p->a_stride[0] + j * p->a_stride[1] + k * p->a_stride[2];
        const int8_t *with = b + i * p->b_stride[0] + j * p->b_stride[1] + k * p->b_stride[2];
        for (int32_t l = 0; l < p->size[3]; l++, from += p->a_stride[3], with += p->b_stride[3]) {
          const int32_t q = rdq_paired(p, product, *from - p->a_zero, *with - p->b_zero);
          *y++ = (int8_t)rdq_limited(q, p->zero, p->low, p->high);
        }
      }
    }
  }
}

void rdq_add(const rdq_pair *pair, const int8_t *a, const int8_t *b, int8_t *y) { rdq_each(pair, 0, a, b, y); }

void rdq_mul(const rdq_pair *pair, const int8_t *a, const int8_t *b, int8_t *y) { rdq_each(pair, 1, a, b, y); }
