/* What only moves levels, and tables. */
#include <string.h>

#include "rdq.h"

void rdq_move(const rdq_path *path, uint32_t width, const void *x, void *y) {
  const int32_t *f = path->from_stride, *t = path->to_stride, size = (int32_t)width;
  for (int32_t i = 0; i < path->size[0]; i++) {
    for (int32_t j = 0; j < path->size[1]; j++) {
      for (int32_t k = 0; k < path->size[2]; k++) {
        const uint8_t *from = (const uint8_t *)x + (i * f[0] + j * f[1] + k * f[2]) * size;
        uint8_t *to = (uint8_t *)y + (i * t[0] + j * t[1] + k * t[2]) * size;
        if (f[3] == 1 && t[3] == 1) {
          memmove(to, from, (size_t)path->size[3] * width);
          continue;
        }
        for (int32_t l = 0; l < path->size[3]; l++) memmove(to + l * t[3] * size, from + l * f[3] * size, width);
      }
    }
  }
}

void rdq_fill(int8_t value, int8_t *y, uint32_t count) { memset(y, value, count); }

void rdq_pick(const rdq_picks *p, const int8_t *x, int8_t *y) {
  for (uint32_t i = 0; i < p->out_h; i++) {
    for (uint32_t j = 0; j < p->out_w; j++, y += p->channels)
      memcpy(y, x + ((size_t)p->rows[i] * p->in_w + p->columns[j]) * p->channels, p->channels);
  }
}

void rdq_lookup(const int8_t *table, const int8_t *x, int8_t *y, uint32_t count) {
  for (uint32_t i = 0; i < count; i++) y[i] = table[(uint8_t)x[i]];
}

void rdq_bytes(const rdq_path *path, uint8_t flip, const void *x, void *y) {
  const int32_t *f = path->from_stride, *t = path->to_stride;
  const uint8_t *from = (const uint8_t *)x;
  uint8_t *to = (uint8_t *)y;
  for (int32_t i = 0; i < path->size[0]; i++) {
    for (int32_t j = 0; j < path->size[1]; j++) {
      for (int32_t k = 0; k < path->size[2]; k++) {
        const uint8_t *v = from + i * f[0] + j * f[1] + k * f[2];
        uint8_t *q = to + i * t[0] + j * t[1] + k * t[2];
        const int32_t by = f[3], step = t[3];
        for (uint32_t left = path->size[3]; left != 0; left--, v += by, q += step) *q = *v ^ flip;
      }
    }
  }
}
