/* Floats at the edges: numbers to levels and back, softmax. Computed by the FPU or by the compiler's library. */
#include "rdq.h"

static int8_t rdq_quantized(const rdq_grid *grid, float x) {
  const float low = (float)(-128 - grid->zero), high = (float)(127 - grid->zero), shift = 12582912.0F;
  volatile float v = x / grid->scale;
  v = v > low ? v : low;
  v = v < high ? v : high;
  v = v + shift; /* only whole numbers have a place beside it */
  return (int8_t)((int32_t)(v - shift) + grid->zero);
}

void rdq_quantize(const rdq_grid *grid, const rdq_path *path, const float *x, int8_t *q) {
  const int32_t *f = path->from_stride, *t = path->to_stride;
  for (int32_t i = 0; i < path->size[0]; i++) {
    for (int32_t j = 0; j < path->size[1]; j++) {
      for (int32_t k = 0; k < path->size[2]; k++) {
        for (int32_t l = 0; l < path->size[3]; l++)
          q[i * t[0] + j * t[1] + k * t[2] + l * t[3]] =
              rdq_quantized(grid, x[i * f[0] + j * f[1] + k * f[2] + l * f[3]]);
      }
    }
  }
}

void rdq_dequantize(const rdq_grid *grid, const rdq_path *path, const int8_t *q, float *x) {
  const int32_t *f = path->from_stride, *t = path->to_stride;
  for (int32_t i = 0; i < path->size[0]; i++) {
    for (int32_t j = 0; j < path->size[1]; j++) {
      for (int32_t k = 0; k < path->size[2]; k++) {
        for (int32_t l = 0; l < path->size[3]; l++)
          x[i * t[0] + j * t[1] + k * t[2] + l * t[3]] =
              (float)(q[i * f[0] + j * f[1] + k * f[2] + l * f[3]] - grid->zero) * grid->scale;
      }
    }
  }
}

void rdq_softmax(const double *exponentials, uint32_t rows, uint32_t count, const int8_t *x, float *y) {
  for (uint32_t r = 0; r < rows; r++, x += count, y += count) {
    double sum = 0;
    for (uint32_t i = 0; i < count; i++) sum += exponentials[(uint8_t)x[i]];
    for (uint32_t i = 0; i < count; i++) y[i] = (float)(exponentials[(uint8_t)x[i]] / sum);
  }
}

void rdq_add_f32(const rdq_grid *a_grid, const rdq_grid *b_grid, int relu, uint32_t count, const int8_t *a,
                 const int8_t *b, float *y) {
  for (uint32_t i = 0; i < count; i++) {
    volatile float first = (float)(a[i] - a_grid->zero) * a_grid->scale;
    volatile float second = (float)(b[i] - b_grid->zero) * b_grid->scale;
    const float v = first + second;
    y[i] = relu && !(v > 0) ? 0 : v;
  }
}

void rdq_mean_f32(uint32_t pixels, uint32_t channels, const float *x, float *y) {
  for (uint32_t c = 0; c < channels; c++) {
    double sum = 0;
    for (uint32_t p = 0; p < pixels; p++) sum += (double)x[p * channels + c];
    y[c] = (float)(sum / pixels);
  }
}
