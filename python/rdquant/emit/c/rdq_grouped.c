/* Convolutions by definition, for shapes that no faster kernel takes, and layers that end in floats. */
#include "rdq_round.h"

static int32_t rdq_sum_at(const rdq_layer *layer, const int8_t *x, uint32_t pixel, uint32_t k) {
  const rdq_window *m = &layer->window;
  const uint32_t depth = m->in_c / m->step, first = k / (m->out_c / m->step) * depth;
  const int32_t top = (int32_t)(pixel / m->out_w) * m->stride_h - m->pad_top;
  const int32_t left = (int32_t)(pixel % m->out_w) * m->stride_w - m->pad_left;
  const int8_t *w = layer->weights + (size_t)k * m->kernel_h * m->kernel_w * depth;
  int32_t sum = layer->epilogue.bias[k];
  for (int32_t i = 0, row = top; i < m->kernel_h; i++, row += m->dilation_h) {
    for (int32_t j = 0, column = left; j < m->kernel_w; j++, column += m->dilation_w) {
      const int inside = row >= 0 && row < m->in_h && column >= 0 && column < m->in_w;
      const int8_t *from = x + (inside ? ((uint32_t)row * m->in_w + (uint32_t)column) * m->in_c + first : 0);
      for (uint32_t c = 0; c < depth; c++) sum += *w++ * (inside ? from[c] : m->x_zero);
    }
  }
  return sum;
}

void rdq_grouped(const rdq_layer *layer, const int8_t *x, const int8_t *residual, int8_t *y) {
  const rdq_window *m = &layer->window;
  const uint32_t pixels = (uint32_t)m->out_h * m->out_w;
  for (uint32_t pixel = 0; pixel < pixels; pixel++) {
    for (uint32_t k = 0; k < m->out_c; k++) {
      const int8_t *r = residual == NULL ? NULL : residual + (size_t)pixel * m->out_c + k;
      y[(size_t)pixel * m->out_c + k] = rdq_finish(&layer->epilogue, rdq_sum_at(layer, x, pixel, k), k, r);
    }
  }
}

void rdq_grouped_f32(const rdq_layer *layer, int relu, const int8_t *x, float *y) {
  const rdq_window *m = &layer->window;
  const rdq_epilogue *e = &layer->epilogue;
  const uint32_t pixels = (uint32_t)m->out_h * m->out_w;
  for (uint32_t pixel = 0; pixel < pixels; pixel++) {
    for (uint32_t k = 0; k < m->out_c; k++) {
      volatile float v = (float)rdq_sum_at(layer, x, pixel, k) * e->multiplier[k]; /* two roundings */
      if (e->offset != NULL) v = v + e->offset[k];
      y[(size_t)pixel * m->out_c + k] = relu && !(v > 0) ? 0 : v;
    }
  }
}
