/* Floats at the edges: numbers to levels and back, softmax. Computed by the FPU or by the compiler's library. */
#include "rdq_round.h"

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

#ifndef RDQ_DOUBLE
#if !defined(__arm__) || (defined(__ARM_FP) && (__ARM_FP & 8))
#define RDQ_DOUBLE 1
#else
#define RDQ_DOUBLE 0
#endif
#endif

#if RDQ_DOUBLE
typedef double rdq_double;
static rdq_double rdq_double_of(const double *v) { return *v; }
static rdq_double rdq_plus(rdq_double a, rdq_double b) { return a + b; }
static float rdq_over(rdq_double a, rdq_double b) { return (float)(a / b); }
#else
/* Doubles as their bits: positive ones, no subnormals. A tenth of the compiler's library. */
typedef uint64_t rdq_double;

static rdq_double rdq_double_of(const double *v) {
  rdq_double bits;
  memcpy(&bits, v, sizeof bits);
  return bits;
}

/* v / 2^drop to the nearest, for all of these: two words a shift are many instructions. */
RDQ_ONCE static uint64_t rdq_cut(uint64_t v, int32_t drop) { return rdq_shifted(v, drop); }

static uint64_t rdq_mantissa(rdq_double v) { return (v & (((uint64_t)1 << 52) - 1)) | (uint64_t)1 << 52; }

/* a + b, rounded to a double; a may be 0. */
static rdq_double rdq_plus(rdq_double a, rdq_double b) {
  if (a == 0) return b;
  const uint64_t more = a > b ? a : b, less = a > b ? b : a;
  const uint32_t exponent = (uint32_t)(more >> 52), apart = exponent - (uint32_t)(less >> 52);
  const uint64_t low = rdq_mantissa(less) << 9;
  uint64_t sum = apart < 63 ? low >> apart : 0;
  sum |= apart < 63 ? (sum << apart) != low : 1; /* what is cut off is kept as one bit */
  sum += rdq_mantissa(more) << 9;
  const int32_t drop = rdq_bit_length(sum) - 53;
  return ((uint64_t)(exponent - 1 + (uint32_t)drop - 9) << 52) + rdq_cut(sum, drop);
}

/* a / b, rounded to a double and then to a float. */
static float rdq_over(rdq_double a, rdq_double b) {
  uint64_t left = rdq_mantissa(a), quotient = 0;
  const uint64_t by = rdq_mantissa(b);
  int32_t exponent = (int32_t)(a >> 52) - (int32_t)(b >> 52);
  if (left < by) {
    left <<= 1;
    exponent--;
  }
  for (uint32_t i = 0; i < 55; i++, left <<= 1) {
    quotient <<= 1;
    if (left < by) continue;
    left -= by;
    quotient |= 1;
  }
  quotient = rdq_cut(quotient << 1 | (left != 0), 3);
  const int32_t field = exponent + 126, drop = field < 0 ? 29 - field : 29; /* fewer bits of a subnormal float */
  const uint32_t bits = drop > 63 ? 0 : (uint32_t)rdq_cut(quotient, drop) + ((uint32_t)(field < 0 ? 0 : field) << 23);
  float v;
  memcpy(&v, &bits, sizeof v);
  return v;
}
#endif

void rdq_softmax(const double *exponentials, uint32_t rows, uint32_t count, const int8_t *x, float *y) {
  for (uint32_t r = 0; r < rows; r++, x += count, y += count) {
    rdq_double sum = 0;
    for (uint32_t i = 0; i < count; i++) sum = rdq_plus(sum, rdq_double_of(exponentials + (uint8_t)x[i]));
    for (uint32_t i = 0; i < count; i++) y[i] = rdq_over(rdq_double_of(exponentials + (uint8_t)x[i]), sum);
  }
}

/* The sum of two levels' numbers, and max(·, 0) of it where `relu`. */
static float rdq_added(const rdq_grid *a_grid, const rdq_grid *b_grid, int relu, int8_t a, int8_t b) {
  volatile float first = (float)(a - a_grid->zero) * a_grid->scale;
  volatile float second = (float)(b - b_grid->zero) * b_grid->scale;
  const float v = first + second;
  return relu && !(v > 0) ? 0 : v;
}

void rdq_add_f32(const rdq_grid *a_grid, const rdq_grid *b_grid, int relu, uint32_t count, const int8_t *a,
                 const int8_t *b, float *y) {
  for (uint32_t i = 0; i < count; i++) y[i] = rdq_added(a_grid, b_grid, relu, a[i], b[i]);
}

void rdq_add_mean_f32(const rdq_grid *a_grid, const rdq_grid *b_grid, int relu, uint32_t pixels, uint32_t channels,
                      const int8_t *a, const int8_t *b, float *y) {
  for (uint32_t c = 0; c < channels; c++, a++, b++) {
    double sum = 0;
    for (uint32_t i = 0, at = 0; i < pixels; i++, at += channels)
      sum += (double)rdq_added(a_grid, b_grid, relu, a[at], b[at]);
    y[c] = (float)(sum / pixels);
  }
}

void rdq_mean_f32(uint32_t pixels, uint32_t channels, const float *x, float *y) {
  for (uint32_t c = 0; c < channels; c++) {
    double sum = 0;
    for (uint32_t p = 0; p < pixels; p++) sum += (double)x[p * channels + c];
    y[c] = (float)(sum / pixels);
  }
}
