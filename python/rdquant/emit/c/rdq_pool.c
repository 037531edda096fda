/* Maxima and means under windows. */
#include "rdq_round.h"

/* The taps of one pixel that lie inside the image. */
typedef struct {
  int32_t top, bottom, left, right; /* the last ones included */
} rdq_inside;

static int32_t rdq_first(int32_t at, int32_t step) { return at >= 0 ? at : at + (-at + step - 1) / step * step; }

static int32_t rdq_last(int32_t at, int32_t step, int32_t kernel, int32_t size) {
  const int32_t last = at + (kernel - 1) * step;
  return last < size ? last : last - (last - size + step) / step * step;
}

static rdq_inside rdq_taps(const rdq_window *m, uint32_t pixel) {
  const int32_t row = (int32_t)(pixel / m->out_w) * m->stride_h - m->pad_top;
  const int32_t column = (int32_t)(pixel % m->out_w) * m->stride_w - m->pad_left;
  const rdq_inside t = {rdq_first(row, m->dilation_h), rdq_last(row, m->dilation_h, m->kernel_h, m->in_h),
                        rdq_first(column, m->dilation_w), rdq_last(column, m->dilation_w, m->kernel_w, m->in_w)};
  return t;
}

void rdq_max_pool(const rdq_window *m, const int8_t *x, int8_t *y) {
  const uint32_t pixels = (uint32_t)m->out_h * m->out_w, channels = m->in_c;
  for (uint32_t pixel = 0; pixel < pixels; pixel++) {
    const rdq_inside t = rdq_taps(m, pixel);
    for (uint32_t c = 0; c < channels; c++) {
      int8_t most = -128;
      for (int32_t i = t.top; i <= t.bottom; i += m->dilation_h) {
        for (int32_t j = t.left; j <= t.right; j += m->dilation_w) {
          const int8_t level = x[((uint32_t)i * m->in_w + (uint32_t)j) * channels + c];
          if (level > most) most = level;
        }
      }
      *y++ = most;
    }
  }
}

/* The sum of one channel under a pixel, less the zero point, and which multiplier belongs to it. */
static int32_t rdq_mean_sum(const rdq_mean *mean, const int8_t *x, const rdq_inside *t, uint32_t c, uint32_t *which) {
  const rdq_window *m = &mean->window;
  int32_t columns = t->right < t->left ? 0 : (t->right - t->left) / m->dilation_w + 1, rows = m->dilation_h;
  const uint32_t step = (uint32_t)m->dilation_w * m->in_c;
  int32_t sum = 0, count = 0;
  if (columns == m->in_w && m->dilation_w == 1 && rows == 1 && t->bottom >= t->top) { /* whole rows are one */
    rows = t->bottom - t->top + 1;
    columns *= rows;
  }
  for (int32_t i = t->top; i <= t->bottom; i += rows) {
    const int8_t *from = x + ((uint32_t)i * m->in_w + (uint32_t)t->left) * m->in_c + c;
    for (int32_t j = columns; j != 0; j--, from += step) sum += *from;
    count += columns;
  }
  *which = mean->by_count && count > 0 ? (uint32_t)count - 1 : 0;
  return sum - count * m->x_zero;
}

void rdq_mean_pool(const rdq_mean *mean, const int8_t *x, int8_t *y) {
  const uint32_t pixels = (uint32_t)mean->window.out_h * mean->window.out_w;
  for (uint32_t pixel = 0; pixel < pixels; pixel++) {
    const rdq_inside t = rdq_taps(&mean->window, pixel);
    for (uint32_t c = 0, which = 0; c < mean->window.in_c; c++) {
      const int32_t sum = rdq_mean_sum(mean, x, &t, c, &which);
      *y++ = (int8_t)rdq_limited(rdq_scaled(sum, mean->multiplier[which]), mean->zero, mean->low, mean->high);
    }
  }
}

void rdq_mean_pool_f32(const rdq_mean *mean, const int8_t *x, float *y) {
  const uint32_t pixels = (uint32_t)mean->window.out_h * mean->window.out_w;
  for (uint32_t pixel = 0; pixel < pixels; pixel++) {
    const rdq_inside t = rdq_taps(&mean->window, pixel);
    for (uint32_t c = 0, which = 0; c < mean->window.in_c; c++) {
      const int32_t sum = rdq_mean_sum(mean, x, &t, c, &which);
      *y++ = (float)sum * mean->multiplier[which];
    }
  }
}
